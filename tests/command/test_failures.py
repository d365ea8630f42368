"""What PostgreSQL says when it fails, told apart: what is tried again, what is an outage, and what is a fault."""

import psycopg
import pytest
from msgspec import structs
from psycopg import errors

from command.submission import Unavailable
from command.users import RegisterUser
from eventlog import failures
from eventlog.ids import new_id
from tests.command.driving import Driver, check_log, driving, execute, rows

pytestmark = pytest.mark.anyio

# A trigger of the log's fails in the middle of the append, so many times; a sequence counts, for no rollback undoes it.
FAILING = """
CREATE SEQUENCE attempts;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF nextval('attempts') <= {times} THEN
        RAISE EXCEPTION 'made to fail' USING ERRCODE = '{sqlstate}';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER failing AFTER INSERT ON log.events FOR EACH STATEMENT EXECUTE FUNCTION fail();
"""

PASSING = {"40001": "serialization failure", "40P01": "deadlock", "25006": "a server that has become a standby"}
OUTAGES = {
    "53000": "insufficient resources",
    "53100": "disk full",
    "53200": "out of memory",
    "53300": "too many connections",
    "55P03": "lock not available",
    "57014": "statement cancelled by a time-out",
    "57P01": "administrator's shutdown",
    "57P02": "crash shutdown",
    "57P03": "starting up",
    "58030": "input or output failed",
}


def a_user() -> RegisterUser:
    user_id = new_id()
    return RegisterUser(user_id, "Ada", f"{user_id}@example.org", None)


def attempts(driver: Driver) -> int:
    ((last,),) = rows(driver.database_url, "SELECT last_value FROM attempts")
    return int(last)


@pytest.mark.parametrize("sqlstate", PASSING)
async def test_a_passing_failure_is_retried_once_without_an_error(writer: Driver, sqlstate: str) -> None:
    execute(writer.database_url, FAILING.format(times=1, sqlstate=sqlstate))
    assert (await writer.do(a_user())).position == 1
    assert attempts(writer) == 2
    assert check_log(writer.database_url) == 1


@pytest.mark.parametrize("sqlstate", PASSING)
async def test_a_lasting_failure_is_tried_at_most_twice(writer: Driver, sqlstate: str) -> None:
    execute(writer.database_url, FAILING.format(times=2, sqlstate=sqlstate))
    with pytest.raises(Unavailable, match=r"^(the database|a lock)"):
        await writer.do(a_user())
    assert attempts(writer) == 2
    assert check_log(writer.database_url) == 0
    assert (await writer.do(a_user())).position == 1


@pytest.mark.parametrize("sqlstate", OUTAGES)
async def test_an_outage_is_reported_and_not_retried(writer: Driver, sqlstate: str) -> None:
    execute(writer.database_url, FAILING.format(times=1, sqlstate=sqlstate))
    with pytest.raises(Unavailable, match=r"^(the database|a lock)"):
        await writer.do(a_user())
    assert attempts(writer) == 1
    assert (await writer.do(a_user())).position == 1
    assert check_log(writer.database_url) == 1


async def test_a_fault_is_no_outage(writer: Driver) -> None:
    with pytest.raises(psycopg.DataError):
        await writer.do(structs.replace(a_user(), email="NUL \0"))
    assert (await writer.do(a_user())).position == 1


async def test_a_function_of_others_that_fails_is_named_to_operators(writer: Driver) -> None:
    execute(writer.database_url, FAILING.format(times=1, sqlstate="22012"))
    with pytest.raises(Unavailable, match=r"^the database refuses what the service writes$") as refused:
        await writer.do(a_user())
    assert refused.value.cause.endswith(": the function fail() failed: correct it, or drop its trigger")
    assert attempts(writer) == 1
    assert (await writer.do(a_user())).position == 1


async def test_a_server_that_only_reads_is_unavailable(writer: Driver) -> None:
    await writer.user()
    name = rows(writer.database_url, "SELECT current_database()")[0][0]
    execute(writer.database_url, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    async with driving(writer.database_url) as driver:
        with pytest.raises(Unavailable, match="read-only"):
            await driver.do(a_user())
    assert (await writer.do(a_user())).position == 2


def made(kind: type[psycopg.Error]) -> psycopg.Error:
    return kind("said nothing of its severity")


def test_only_an_error_says_that_a_transaction_has_failed() -> None:
    """A session that ends with FATAL, or without a word, may have committed."""
    for kind in (errors.AdminShutdown, errors.CrashShutdown, psycopg.OperationalError):
        assert failures.is_outage(made(kind))
        assert not failures.is_rolled_back(made(kind))
        assert failures.is_passing(made(kind))
    assert not failures.is_passing(TimeoutError())
    assert failures.is_outage(TimeoutError())
    assert failures.is_outage(ConnectionRefusedError())
    assert not failures.is_outage(ZeroDivisionError())


@pytest.mark.parametrize(
    ("schema", "remedy"), [("log", "restore the database from a backup, whole"), ("shop", "rebuild the tables")]
)
def test_a_broken_constraint_is_an_outage_with_a_remedy_for_its_tables(schema: str, remedy: str) -> None:
    field = psycopg.pq.DiagnosticField
    names = {field.SCHEMA_NAME: schema, field.TABLE_NAME: "users", field.CONSTRAINT_NAME: "one"}
    error = errors.UniqueViolation("the value ada", info={int(it): name.encode() for it, name in names.items()})
    assert failures.is_outage(error)
    said = failures.for_operators(error)
    assert f"the constraint one of {schema}.users is broken" in said
    assert remedy in said
    assert "ada" not in said
