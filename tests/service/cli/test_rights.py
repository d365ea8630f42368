"""Commands of a role that lacks rights, and on a server that takes no writes, end with one line."""

from collections.abc import Iterator

import psycopg
import pytest

from database.remedies import make_room
from tests.service.cli.conftest import Run, one_line

NO_ROOM = """
CREATE FUNCTION public.no_room() RETURNS event_trigger LANGUAGE plpgsql AS $$
BEGIN RAISE 'Auf dem Gerät ist kein Speicherplatz mehr verfügbar' USING ERRCODE = 'disk_full'; END $$;
CREATE EVENT TRIGGER no_room ON ddl_command_end WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION public.no_room();
"""


@pytest.fixture
def powerless(database_url: str) -> Iterator[str]:
    """The URL of a role without any right."""
    name = "powerless_" + str(psycopg.conninfo.conninfo_to_dict(database_url)["dbname"])
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f'CREATE ROLE "{name}" LOGIN'.encode())
        yield database_url.replace("orders@", f"{name}@", 1)
        connection.execute(f'DROP OWNED BY "{name}"; DROP ROLE "{name}"'.encode())


COMMANDS = ["status", "doctor", "verify", "replay", "events", "parked", "migrate"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_role_without_rights_gets_one_line(run: Run, powerless: str, command: str) -> None:
    assert "permission denied" in one_line(run(command, DATABASE_URL=powerless), 1)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_role_that_may_only_read_gets_one_line_or_an_answer(
    run: Run, database_url: str, powerless: str, command: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = psycopg.conninfo.conninfo_to_dict(powerless)["user"]
        connection.execute(f'GRANT pg_read_all_data TO "{name}"'.encode())
    done = run(command, DATABASE_URL=powerless)
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") <= 1, done.stderr


@pytest.mark.parametrize("command", ["verify", "replay"])
def test_a_session_that_is_read_only_gets_one_line(run: Run, database_url: str, command: str) -> None:
    read_only = f"{database_url}&options=-c%20default_transaction_read_only%3Don"
    assert "read-only" in one_line(run(command, DATABASE_URL=read_only), 1)


def test_a_full_disk_has_its_remedy_in_every_language_of_the_server(run: Run, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(NO_ROOM.encode())
    assert one_line(run("replay"), 1).endswith(f"verfügbar; {make_room()}\n")
