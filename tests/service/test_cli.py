"""The command line: every command explains itself, and what an operator can cause is one line."""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
import redis
import sqlalchemy.exc
from typer.testing import CliRunner

from service.cli.commands import app
from service.cli.failures import explain
from service.errors import OperatorError
from service.version import VERSION
from tests.command_line import subcommands

COMMANDS = sorted(subcommands())
FULL = "orders: No space left on device: make room on the disk of the output, and of the data directory\n"


def run(*arguments: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-m", "service.cli", *arguments],
        cwd=cwd,
        env={"PATH": os.defpath, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    shown = CliRunner().invoke(app, [command, "--help"])
    assert shown.exit_code == 0
    assert "Example: " in shown.output
    assert f"orders {command}" in " ".join(shown.output.split())


@pytest.mark.parametrize("name", ["PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"])
@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_for_figures_of_other_programs_is_not_used(tmp_path: Path, name: str, is_there: bool) -> None:
    folder = tmp_path / "figures"
    if is_there:
        folder.mkdir()
    done = run("openapi", cwd=tmp_path, **{name: str(folder)})
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(tmp_path.glob("figures/*"))


@pytest.mark.parametrize("is_there", [True, False])
def test_a_worker_that_dramatiq_itself_starts_does_not_use_that_folder(tmp_path: Path, is_there: bool) -> None:
    folder = tmp_path / "figures"
    if is_there:
        folder.mkdir()
    code = "from service import worker; worker.serve_metrics('127.0.0.1', 0).make_labels('shop')"
    variables = {"PATH": os.defpath, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(tmp_path.glob("figures/*"))


def test_the_start_of_a_command_loads_no_server_and_no_driver(tmp_path: Path) -> None:
    heavy = {"dramatiq", "fastapi", "jinja2", "opentelemetry", "psycopg", "redis", "sqlalchemy", "uvicorn"}
    code = f"import sys, service.cli.commands; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_loads_no_code_of_a_subcommand(tmp_path: Path) -> None:
    code = (
        "import sys; from service.cli.commands import app; app(['--help'], standalone_mode=False); "
        "print([it for it in sys.modules if it.startswith(('psycopg', 'service.cli.status', 'service.cli.run'))])"
    )
    shown = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"
    assert "Print the log's head" in shown.stdout


def test_worker_and_status_load_no_web_framework(tmp_path: Path) -> None:
    for module in ("service.worker", "service.cli.status"):
        code = f"import sys, {module}; print('fastapi' in sys.modules)"
        found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert found.stdout == "False\n", module


@pytest.mark.parametrize(
    ("module", "raised"),
    [
        ("service.cli.commands", "KeyboardInterrupt"),
        # In the middle of making a class Python raises this one.
        ("projector.status", "RuntimeError('Error calling __set_name__') from KeyboardInterrupt()"),
    ],
)
def test_ctrl_c_while_a_command_starts_ends_it_without_a_traceback(tmp_path: Path, module: str, raised: str) -> None:
    code = f"""
import sys

class Interrupting:
    def find_spec(self, name, *_):
        if name == "{module}":
            raise {raised}

sys.argv = ["orders", "status"]
sys.meta_path.insert(0, Interrupting())
from orders import main
main()
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["serve"], {"DATABASE_URL": "postgresql://localhost/orders"}),
        (["work"], {"REDIS_URL": "redis://localhost/0"}),
    ],
)
def test_a_command_that_lacks_a_setting_ends_with_exit_code_2(
    tmp_path: Path, arguments: list[str], variables: dict[str, str]
) -> None:
    done = run(*arguments, cwd=tmp_path, **variables)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_the_command_line_prints_its_version() -> None:
    shown = CliRunner().invoke(app, ["--version"])
    assert (shown.exit_code, shown.output) == (0, f"orders {VERSION}\n")


def test_errors_of_operators_differ_from_faults_of_the_service() -> None:
    lost = psycopg.OperationalError("the connection is lost\n\tIs the server running?")
    assert explain(lost) == ("PostgreSQL: the connection is lost; check DATABASE_URL, and that the server runs", 1)
    assert explain(sqlalchemy.exc.OperationalError("SELECT 1", {}, lost)) == explain(lost)
    advice = "start it, or correct REDIS_URL (rediss:// if it takes TLS, and redis:// if not)"
    assert explain(redis.ConnectionError("refused")) == (f"Redis cannot be reached (refused); {advice}", 1)
    assert explain(OperatorError("two\nlines", exit_code=2)) == ("two lines", 2)
    missing = explain(psycopg.errors.UndefinedTable('relation "log.events" does not exist'))
    assert missing is not None
    assert "orders migrate" in missing[0]
    idle = psycopg.errors.IdleInTransactionSessionTimeout("terminating connection due to idle-in-transaction timeout")
    assert explain(idle) == (f"PostgreSQL: {idle}; try again in a moment", 1)
    assert explain(psycopg.errors.SyntaxError("at SELEC")) is None
    assert explain(KeyError("ours")) is None
    gone = "No such file or directory: was the working directory deleted? cd to another"
    assert explain(FileNotFoundError(2, "No such file or directory")) == (gone, 1)
    assert explain(PermissionError(13, "Permission denied", "/srv/a")) == ("/srv/a: Permission denied", 1)
    assert explain(TimeoutError()) is None
    assert explain(UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed")) == (
        r"'\udcff' is not UTF-8 text",
        2,
    )
    assert explain(UnicodeEncodeError("ascii", "\u00ff", 0, 1, "ordinal not in range(128)")) is None


@pytest.mark.parametrize(
    ("redirected", "returncode", "says"),
    [
        (">/dev/full", 1, FULL),
        (">&-", 0, ""),
        ("| sleep 0", 1, ""),
        (">&- 2>&-", 0, ""),
    ],
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_cannot_be_written_is_at_most_one_line(
    redirected: str, returncode: int, says: str, unbuffered: str
) -> None:
    command = f"set -o pipefail; {sys.executable} -P -m service.cli import --template users {redirected}"
    environment = {"PATH": os.defpath, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(["bash", "-c", command], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (returncode, "", says)


def test_a_process_that_may_take_too_little_memory_says_so_in_one_line(tmp_path: Path) -> None:
    command = f"ulimit -v 60000; exec {sys.executable} -P -m orders status"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("orders: the memory that this process may take does not suffice")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "is_one_line"),
    [
        ("MemoryError", True),
        ("OSError(12, 'no memory')", True),
        ("OSError(5, 'I/O')", False),
        ("SystemError('error return without exception set')", True),
        ("SystemError('bad argument to internal function')", False),
    ],
)
def test_an_import_that_finds_no_memory_is_one_line(tmp_path: Path, error: str, is_one_line: bool) -> None:
    (tmp_path / "service").mkdir()
    (tmp_path / "service/__init__.py").touch()
    (tmp_path / "service/cli.py").write_text(f"raise {error}")
    code = "import orders, sys; sys.path.insert(0, ''); orders.main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("orders: the memory") == is_one_line
    assert (done.stderr.count("\n") == 1) == is_one_line


def test_a_package_of_another_project_that_hides_ours_is_one_line(tmp_path: Path) -> None:
    """As after `pip install service` into the same environment."""
    theirs = tmp_path / "service"
    theirs.mkdir()
    (theirs / "__init__.py").write_text("import a_module_that_is_not_there")
    for project in ("orders", "service"):
        described = tmp_path / f"{project}-1.0.dist-info"
        described.mkdir()
        (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project}\nVersion: 1.0\n")
        (described / "RECORD").write_text("service/__init__.py,,\n")
    code = "import sys; sys.path.insert(0, sys.argv.pop()); from orders import main; main()"
    command = [sys.executable, "-c", code, "status", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("orders: service has installed another package service here: install orders into a ")
    assert done.stderr.count("\n") == 1


def test_dramatiq_without_the_function_gets_an_error_with_its_name(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dramatiq", "service.worker", "--processes", "1", "--threads", "1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "orders: name the function too: dramatiq service.worker:setup" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("asked", ["service.app:app", "service.app:create_app"])
def test_another_server_than_orders_serve_is_refused_with_a_sentence(asked: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "uvicorn", asked, "--port", "0"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert done.stderr == (
        "orders: only `orders serve` (or `orders up`) serves the API: run it in place of this server\n"
    )
