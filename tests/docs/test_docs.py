"""What the documentation names is there, and what is there is documented."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from command import deciding, states, waiting, writer
from command import fields as limits
from contract import headers, requests
from contract.problem_types import PROBLEMS
from eventlog import idempotency
from eventlog.events import SCHEMA_VERSIONS, CancelledLine, OrderItem
from eventlog.events.record import Record
from feed import routes as feed
from projector import swapping
from projector.status import SILENT_AFTER
from query import parameters, sync
from query.orders import OrdersParameters
from query.products import ProductsParameters
from query.users import UsersParameters
from service.app import create_app
from service.cli.keys import API_KEY_VARIABLE
from service.http import connections, reading
from service.settings import SECRETS, Settings
from tests.command_line import subcommands
from tests.docs import reference
from tests.docs.walking import ROOT, blocks

PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")],
    key=lambda path: str(path.relative_to(ROOT)),
)
NAMES = [str(path.relative_to(ROOT)) for path in PAGES]
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*/?")
_COMMAND = re.compile(r"(?:^|\s|bin/)orders ([a-z]+)((?: [^|&#]*)?)$")


def text_of(name: str) -> str:
    return (ROOT / name).read_text()


def slug_of(heading: str) -> str:
    """The anchor that a heading gets where the repository is shown."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def section(name: str, heading: str) -> str:
    """A page's text from a heading to the next one."""
    _, _, rest = text_of(name).partition(f"\n{heading}\n")
    assert rest, f"{name} has no {heading}"
    return re.split(r"^#+ ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[list[str]]:
    """The cells of all rows of a text's tables, without their headings."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    ruled = [number for number, row in enumerate(cells) if set("".join(row)) <= set("-: ") and "".join(row)]
    return [row for number, row in enumerate(cells) if number not in ruled and number + 1 not in ruled]


def names(cell: str) -> list[str]:
    return _CODE.findall(cell)


@pytest.mark.parametrize("name", NAMES)
def test_every_link_leads_somewhere(name: str) -> None:
    for target in _LINK.findall(text_of(name)):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        page = (ROOT / name).parent / path if path else ROOT / name
        assert page.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
            assert anchor in {slug_of(heading) for heading in headings}, target


@pytest.mark.parametrize("name", NAMES)
def test_every_file_that_is_named_is_there(name: str) -> None:
    prose = re.sub(r"^```.*?^```$", "", text_of(name), flags=re.MULTILINE | re.DOTALL)
    for code in _CODE.findall(prose):
        looks_like_one = _PATH.fullmatch(code) and code.partition("/")[0] in FOLDERS and "/" in code
        if looks_like_one:
            assert (ROOT / code).exists(), code


@pytest.mark.parametrize("name", NAMES)
def test_every_command_of_orders_that_is_named_is_one(name: str) -> None:
    text = text_of(name)
    lines = [line for language, content in blocks(text) if language != "text" for line in content.splitlines()]
    lines += _CODE.findall(re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    commands = subcommands()
    for line in lines:
        for command, arguments in _COMMAND.findall(line):
            assert command in commands, line
            meant = commands[command]
            # `orders parked skip`: the options are those of the last word that is a command.
            meant = getattr(meant, "commands", {}).get(arguments.strip().partition(" ")[0], meant)
            options = {option for parameter in meant.params for option in parameter.opts} | {"--help"}
            assert set(re.findall(r"(?<!\S)--[\w-]+", arguments)) <= options, line


def test_every_command_of_orders_is_documented() -> None:
    text = text_of("README.md") + text_of("docs/operating.md")
    for command in subcommands():
        assert f"orders {command}" in text


def test_every_event_is_documented_and_no_other() -> None:
    page = text_of("docs/events.md")
    documented = re.findall(r"^### (.*)$", page, re.MULTILINE)
    written = [
        name.__name__ + (f" (version {number})" if number > 1 else "") for name, number in SCHEMA_VERSIONS.items()
    ]
    assert sorted(documented) == sorted(written)
    assert ("All events have schema version 1 today." in page) == (set(SCHEMA_VERSIONS.values()) == {1})


@pytest.mark.parametrize("event", SCHEMA_VERSIONS, ids=lambda event: event.__name__)
def test_every_field_of_an_event_is_documented_and_no_other(event: type[Record]) -> None:
    number = SCHEMA_VERSIONS[event]  # type: ignore[index]
    heading = f"### {event.__name__}" + (f" (version {number})" if number > 1 else "")
    described = rows(section("docs/events.md", heading))
    # A class's own table has three columns; a part of it, two.
    own = [row for row in described if len(row) == 3]
    assert [names(row[0])[0] for row in own] == list(event.__struct_fields__)
    personal = tuple(names(row[0])[0] for row in own if "**P**" in row[1])
    assert personal == getattr(event, "PERSONAL", ())


@pytest.mark.parametrize(
    ("part", "heading"), [(OrderItem, "### OrderPlaced"), (CancelledLine, "### OrderLinesCancelled")]
)
def test_every_member_of_a_part_of_an_event_is_documented_and_no_other(part: type[Record], heading: str) -> None:
    described = [names(row[0]) for row in rows(section("docs/events.md", heading)) if len(row) == 2]
    assert [name for cell in described for name in cell] == list(part.__struct_fields__)


def test_the_page_of_errors_matches_the_catalogue() -> None:
    assert reference.PAGE.read_text() == reference.page(), "run: python -m tests.docs.reference"


def test_every_code_that_a_page_calls_a_problem_is_one() -> None:
    for name in NAMES:
        for status, code in re.findall(r"\b([45]\d\d) `([a-z-]+)`", text_of(name)):
            assert code in PROBLEMS, f"{name}: {code}"
            assert PROBLEMS[code].status == int(status), f"{name}: {code}"


def test_every_setting_is_documented_and_no_other() -> None:
    documented = [names(row[0])[0] for row in rows(text_of("docs/settings.md").partition("\n## ")[0])]
    assert documented == [name.upper() for name in Settings.model_fields]


def test_every_setting_matches_its_documentation() -> None:
    for row in rows(text_of("docs/settings.md").partition("\n## ")[0]):
        meaning, _, link = row[2].partition(". See [")
        assert meaning == Settings.meaning(names(row[0])[0].lower())
        assert not link or link.endswith(")")


def test_every_variable_that_names_a_file_is_documented_and_no_other() -> None:
    documented = {
        names(row[0])[0]: names(row[1])[0] for row in rows(section("docs/settings.md", "## Secrets in files"))
    }
    of_settings = {f"{name.upper()}_FILE": name.upper() for name in SECRETS}
    assert documented == of_settings | {f"{API_KEY_VARIABLE}_FILE": API_KEY_VARIABLE}


def test_every_default_of_a_setting_is_the_documented_one() -> None:
    for row in rows(text_of("docs/settings.md").partition("\n## ")[0]):
        default = Settings.model_fields[names(row[0])[0].lower()].default
        if default is not None:
            assert names(row[1])[0].removeprefix("./").lower() == str(default).lower()


def test_every_route_is_documented_and_no_other() -> None:
    documented = set()
    for row in rows(section("docs/http.md", "## Routes")):
        for method, path in (name.split() for name in names(row[0])):
            documented.add((method, re.sub(r"{\w+}", "{}", path)))
    of_all = ("events", "history", "explain")
    documented |= {("GET", f"/{kind}/{{}}/{what}") for kind in ("users", "products") for what in of_all}
    assert "(users and products too)" in text_of("docs/http.md")
    urls = {"database_url": "postgresql://nowhere.invalid/x", "redis_url": "redis://nowhere.invalid/0"}
    served = {
        (method, re.sub(r"{\w+}", "{}", route.path))  # type: ignore[attr-defined]
        for route in create_app(Settings(**urls)).routes
        for method in getattr(route, "methods", None) or ()
        if getattr(route, "include_in_schema", True) or route.path in {"/docs", "/openapi.json"}  # type: ignore[attr-defined]
    }
    assert documented == {(method, path) for method, path in served if method != "HEAD"}


@pytest.mark.parametrize(
    ("path", "model"), [("/users", UsersParameters), ("/products", ProductsParameters), ("/orders", OrdersParameters)]
)
def test_every_filter_and_sort_of_a_list_is_documented_and_no_other(
    path: str, model: type[parameters.PageParameters]
) -> None:
    (row,) = [row for row in rows(section("docs/http.md", "## Lists")) if names(row[0]) == [path]]
    known = {one["name"] for one in model.documented()} - {"sort", "limit", "cursor"}
    assert {name.partition("[")[0] for name in names(row[1])} == {name.partition("[")[0] for name in known}
    sorts = next(one["schema"]["enum"] for one in model.documented() if one["name"] == "sort")
    assert {name.lstrip("-") for name in names(row[2])} == {name.lstrip("-") for name in sorts}


def test_every_target_of_make_is_documented_and_no_other() -> None:
    (targets,) = re.findall(r"^\.PHONY: (.*)$", text_of("Makefile"), re.MULTILINE)
    documented = re.findall(r"^\| `make (\w+)", text_of("CONTRIBUTING.md"), re.MULTILINE)
    assert sorted(documented) == sorted(set(targets.split()) - {"help"})


# Numbers that prose repeats: when a constant changes, these say which sentence is no longer true.
FIGURES = {
    "ARCHITECTURE.md": [
        f"(at most {waiting.BATCH_COMMANDS_MAX:,} commands)",
        f"which is full at {deciding.BATCH_ROWS_MAX:,} rows or {deciding.BATCH_BYTES_MAX // 1024**2} MiB",
        f"{waiting.WAITING_MAX:,} waiting |",
        f"read no order and at most {deciding.SMALL_READS_MAX} streams",
        f"a snapshot every {deciding.SNAPSHOT_EVERY_EVENTS} events; a batch reads",
        f"a batch reads at most {states.TAIL_EVENTS_MAX} behind it",
        f"stores a snapshot every {deciding.SNAPSHOT_EVERY_EVENTS} events",
        f"usually at most {deciding.SNAPSHOT_EVERY_EVENTS - 1}.",
        f"A batch reads at most {states.TAIL_EVENTS_MAX} events behind",
        f"at most {states.STREAMS_BYTES_MAX // states.MIB} MiB of users and products",
        f"{states.SKUS_BYTES_MAX // states.MIB} MiB of SKUs with their products",
        f"beyond {writer.CATCH_UP_EVENTS_MAX:,} events",
        f"for {idempotency.KEPT_DAYS} days",
        f"is {writer.BATCH_SECONDS_MAX:g} seconds old",
        f"is {writer.ANSWER_SECONDS_MAX:g} seconds old",
        f"waited {waiting.WAITING_SECONDS_MAX:g} seconds",
        f"waited for {waiting.QUEUE_SECONDS_MAX:g} second",
        f"and {connections.REQUESTS_MAX} requests under way",
        f"A request has {connections.REQUEST_SECONDS_MAX} seconds to arrive",
        f"{reading.ANSWER_BYTES_PER_SECOND_MIN // 1024} KiB a second over {reading.ANSWER_SECONDS_MAX} seconds",
        f"at most\n{connections.CONNECTIONS_MAX:,} connections",
        f"waits at most {swapping.LOCK_MS_MAX} ms",
    ],
    "docs/http.md": [
        f"| name | 1 to {limits.NAME_LENGTH_MAX} characters |",
        f"| sku, external_id | 1 to {limits.KEY_LENGTH_MAX} characters |",
        f"| email | 3 to {limits.EMAIL_LENGTH_MAX} characters |",
        f"| note, reason | {limits.TEXT_LENGTH_MAX:,} characters;",
        f"| lines of an order | 1 to {limits.LINES_MAX:,} |",
        f"| quantity of a line | 1 to {limits.QUANTITY_MAX:,} |",
        f"| Idempotency-Key | 1 to {headers.KEY_LENGTH_MAX} printable ASCII characters |",
        f"| bodies of more than {requests.LARGE_BODY_BYTES // 1024} KiB | {requests.LARGE_BODIES_MAX} at a time in",
        f"others wait, and get 503 `overloaded` after {requests.LARGE_BODY_SECONDS_MAX} seconds |",
        f"| URI | {connections.URL_BYTES_MAX // 1024} KiB |",
        f"{reading.ANSWER_BYTES_PER_SECOND_MIN // 1024} KiB a second or more, over {reading.ANSWER_SECONDS_MAX}",
        f"| headers | {connections.HEADERS_MAX}, and {connections.HEAD_BYTES_MAX // 1024} KiB of them |",
        f"| time for a request to arrive | {connections.REQUEST_SECONDS_MAX} seconds |",
        f"{sync.WAIT_SECONDS_DEFAULT} seconds, or as long as",
        f"at most {sync.WAIT_SECONDS_MAX}.",
        f"1 to {parameters.PAGE_LENGTH_MAX}\n(default {parameters.PAGE_LENGTH_DEFAULT})",
        f"(`limit` 1 to {feed.EVENTS_MAX:,}, default {feed.EVENTS_DEFAULT})",
    ],
    "docs/performance.md": [f"at most {deciding.SNAPSHOT_EVERY_EVENTS - 1} events behind it"],
    "docs/operating.md": [
        f"no worker has looked for {SILENT_AFTER.seconds} seconds",
        f"waited for more than {SILENT_AFTER.seconds} seconds",
    ],
}


@pytest.mark.parametrize(("name", "sentence"), [(name, it) for name, many in FIGURES.items() for it in many])
def test_the_figures_in_prose_are_those_of_the_code(name: str, sentence: str) -> None:
    assert sentence in text_of(name)


def test_no_page_names_paths_of_one_machine() -> None:
    for path in PAGES:
        assert not re.search(r"(?<![\w.])/(work|home|root|Users)/", path.read_text()), path.name


def test_every_page_of_docs_is_linked_from_somewhere() -> None:
    linked = {
        ((ROOT / name).parent / target.partition("#")[0]).resolve()
        for name in NAMES
        for target in _LINK.findall(text_of(name))
        if not re.match(r"https?://", target)
    }
    for path in (ROOT / "docs").rglob("*.md"):
        assert path.resolve() in linked or path.parent.resolve() in linked, path.name


def test_decisions_are_numbered_and_say_the_four_things() -> None:
    pages = sorted((ROOT / "docs/decisions").glob("*.md"))
    assert [page.name[:4] for page in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]
    for page in pages:
        headings = re.findall(r"^## (.*)$", page.read_text(), re.MULTILINE)
        assert headings == ["Context", "Decision", "Alternatives", "What keeps it"], page.name


def test_the_six_files_of_the_readme_fit_a_reader() -> None:
    table = rows(section("README.md", "## Where to look next"))
    files = [Path(target) for row in table for target in _LINK.findall(row[0]) if target.endswith(".py")]
    assert len(files) == 6
    assert all(len((ROOT / path).read_text().splitlines()) <= 150 for path in files)


def test_every_test_that_is_named_is_there() -> None:
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    for name in NAMES:
        if name == "CONTRIBUTING.md":
            continue  # names one as an example
        assert {code for code in _CODE.findall(text_of(name)) if re.fullmatch(r"test_\w+", code)} <= there, name


def test_the_code_that_is_shown_is_the_code_that_is_there() -> None:
    shown = [content for name in NAMES for _, content in blocks(text_of(name), "python")]
    quoted = [content for content in shown if not content.startswith("# runs")]
    assert len(quoted) > 4
    for content in quoted:
        first, *wanted = [line for line in content.splitlines() if line.strip()]
        lines = iter((ROOT / first.removeprefix("# ")).read_text().splitlines())
        for line in wanted:
            # In their order; what is between them is left out. A method is shown with its class's indent.
            assert any(line.strip() == there.strip() for there in lines), f"{first}: {line}"


def test_the_code_that_is_said_to_run_runs() -> None:
    shown = [content for name in NAMES for _, content in blocks(text_of(name), "python") if "# runs" in content]
    assert shown
    for content in shown:
        done = subprocess.run([sys.executable, "-c", content], cwd=ROOT, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
