# Works on a machine with Python 3.11+ and make, and nothing else. The first target sets up everything it needs.

PORT ?= 8000
DATA_DIR ?= ./data
# Many tests wait for processes to start, die or be missed: two at a time for each core.
TESTS_AT_ONCE ?= $(shell expr 2 \* `nproc 2>/dev/null || echo 2`)
# Without the tests that tests/everyday.py lists, unless ALL=1, or CI, asks for everything.
EVERYDAY = $(if $(ALL)$(CI),,--everyday)
VENV := .venv
BIN := $(VENV)/bin

# Where it is set, each process of pytest compiles all tests anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help up test check quick clients torture soak guards bench lint clean lock

help:
	@echo "make up      the whole service in this terminal (PORT=$(PORT) DATA_DIR=$(DATA_DIR))"
	@echo "make test    the everyday tests, in parallel, on real PostgreSQL and Valkey; ALL=1 for all tests"
	@echo "make check   the linters, and the quick tests"
	@echo "make quick   the quick tests alone"
	@echo "make clients the Python and the TypeScript client, from openapi.json"
	@echo "make torture the system tests in their long form: hundreds of kills, thousands of cases"
	@echo "make guards  break every guard of the promises once, and see that a test fails"
	@echo "make soak    half an hour of load, then too much of it; ARGS=\"--seconds 60 --overload-seconds 20\""
	@echo "make bench   the measurements of bench/"
	@echo "make lint    ruff, mypy, import-linter"
	@echo "make lock    compile requirements/*.txt anew from pyproject.toml"
	@echo "make clean   remove $(VENV) and caches; $(DATA_DIR) stays"

up: $(VENV)/.project
	@exec $(BIN)/orders up --port "$(PORT)" --data-dir "$(DATA_DIR)"

test: $(VENV)/.project
	$(BIN)/pytest -n $(TESTS_AT_ONCE) --dist loadfile --no-loadscope-reorder $(EVERYDAY) $(ARGS)

check: $(VENV)/.project
	@$(MAKE) --no-print-directory --jobs 2 lint quick

quick: $(VENV)/.project
	$(BIN)/pytest -q --ignore tests/contract/test_linters.py --ignore tests/contract/test_many_errors.py \
		tests/command/domain tests/contract tests/projector/projections tests/eventlog/test_codec.py \
		tests/clients/test_compatibility.py tests/test_tidy.py tests/test_boundaries.py $(ARGS)

clients: $(VENV)/.project
	$(BIN)/python clients/generate.py $(ARGS)

torture: $(VENV)/.project
	$(BIN)/pytest tests/system tests/properties --long -n auto -m "not alone" $(ARGS)
	$(BIN)/pytest tests/system --long -m alone $(ARGS) || [ $$? -eq 5 ]  # 5: ARGS leave none of them

guards: $(VENV)/.project
	$(BIN)/python -m tests.guards.breaking $(ARGS)

soak: $(VENV)/.project
	$(BIN)/python -m tests.system.soak $(ARGS)

bench: $(VENV)/.bench
	$(BIN)/python -m bench $(ARGS)

lint: $(VENV)/.project
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf clients/typescript/node_modules $(VENV) .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

# dev.txt is the widest set; the others are compiled within it (bench.txt adds to it), so that no version differs between
# them. clients.txt stands alone: the client generator needs an older typer.
COMPILE = $(BIN)/uv pip compile pyproject.toml --quiet --universal --generate-hashes --upgrade \
	--custom-compile-command "make lock"

lock: $(VENV)/.project
	$(COMPILE) --extra embedded --extra otel --extra dev --output-file requirements/dev.txt
	$(COMPILE) --extra embedded --constraint requirements/dev.txt --output-file requirements/embedded.txt
	$(COMPILE) --constraint requirements/dev.txt --output-file requirements/runtime.txt
	$(COMPILE) --extra embedded --extra bench --constraint requirements/dev.txt --output-file requirements/bench.txt
	$(subst pyproject.toml,--group pyproject.toml:generators,$(COMPILE)) --output-file requirements/generators.txt
	$(subst pyproject.toml,clients/python/pyproject.toml,$(COMPILE)) --extra generator --output-file requirements/clients.txt

# Made from nothing whenever the requirements change, so that no package stays that is no longer asked for.
$(VENV)/.requirements: requirements/dev.txt
	@python=; for candidate in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11; do \
		if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			python=$$candidate; break; \
		fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "orders needs Python 3.11 or newer; found: $$(python3 --version 2>&1)." \
			"Install one, or name it: make PYTHON=/path/to/python3.11" >&2; \
		exit 1; \
	fi; \
	if ! "$$python" -m venv --clear $(VENV); then \
		echo "$$python cannot make a virtual environment; on Debian: apt install python3-venv" >&2; \
		exit 1; \
	fi
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/.project: pyproject.toml $(VENV)/.requirements
	$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	@touch $@

$(VENV)/.bench: requirements/bench.txt $(VENV)/.project
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bench.txt
	@touch $@
