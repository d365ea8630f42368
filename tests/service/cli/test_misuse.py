"""What an operator types or sets wrongly: one line, and an exit code."""

import pytest

from tests.service.cli.conftest import Run, one_line

NOBODY_LISTENS = "127.0.0.1:1"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"postgresql://orders@{NOBODY_LISTENS}/orders", "Connection refused"),
        ("postgresql://orders@/orders?host=/nowhere", "No such file or directory"),
    ],
)
def test_a_database_that_is_not_there_is_one_line(run: Run, url: str, reason: str) -> None:
    done = run("migrate", DATABASE_URL=url)
    said = one_line(done, 1)
    assert said.startswith("orders: PostgreSQL: ")
    assert reason in said


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        (
            "session_preload_libraries%3Dnowhere",
            "; correct session_preload_libraries or local_preload_libraries of the",
        ),
        ("no_such_setting%3D1", "; check DATABASE_URL, PGTZ"),
    ],
)
def test_a_server_that_refuses_a_connection_need_not_be_started(
    run: Run, database_url: str, options: str, remedy: str
) -> None:
    said = one_line(run("status", DATABASE_URL=f"{database_url}&options=-c%20{options}", PGTZ="UTC"), 1)
    assert remedy in said
    assert "that the server runs" not in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["up", "--port", "99999"], "orders: Invalid value for '--port': "),
        (["serve", "--processes", "10000"], "orders: Invalid value for '--processes': "),
        (["status", "--watch", "--interval", "inf"], "orders: Invalid value for '--interval': "),
        (["nonsense"], "orders: No such command 'nonsense'. See orders --help"),
        (["import"], "orders: Missing argument 'path'. See orders import --help"),
        (["status", "--hepl"], "orders: No such option: --hepl"),
    ],
)
def test_a_wrong_command_line_is_one_line(run: Run, arguments: list[str], says: str) -> None:
    assert one_line(run(*arguments), 2).startswith(says)


def test_a_replay_takes_no_more_processes_than_it_has_projections(run: Run) -> None:
    done = run("replay", "--processes", "9" * 30)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    "arguments",
    [["import", ""], ["import", " "], ["import", "a.csv", "--rejects="], ["status", "--data-dir", ""]],
)
def test_an_argument_that_lost_its_value_does_not_mean_the_current_directory(run: Run, arguments: list[str]) -> None:
    assert one_line(run(*arguments), 2).startswith("orders: an argument is empty")


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["serve", "--port", "70000"], {}),
        (["up"], {"PORT": "eighty"}),
        (["migrate"], {"DATABASE_URL": "mysql://localhost/orders"}),
    ],
)
def test_a_wrong_setting_ends_with_exit_code_2(run: Run, arguments: list[str], variables: dict[str, str]) -> None:
    done = run(*arguments, **variables)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
