"""The database itself keeps the log append-only, for every role."""

import psycopg
import pytest
from psycopg import Connection
from psycopg.errors import InsufficientPrivilege

from eventlog.events import UserDeleted, UserRegistered
from eventlog.ids import new_id
from tests.builders import append_events, new_event

REWRITINGS = [
    "UPDATE log.events SET data = '{}' WHERE position = 1",
    "UPDATE log.events SET type = type",
    "UPDATE log.events SET version = 9 WHERE false",
    "DELETE FROM log.events WHERE position = 2",
    "DELETE FROM log.events",
    "TRUNCATE log.events",
    "INSERT INTO log.events SELECT * FROM log.events ON CONFLICT (position) DO UPDATE SET data = '{}'",
    "MERGE INTO log.events AS old USING log.head ON true WHEN MATCHED THEN DELETE",
]


@pytest.fixture(autouse=True)
def _some_events(database_url: str) -> None:
    user = f"user-{new_id()}"
    ada = UserRegistered("Ada", "ada@example.org", "ada@example.org", None)
    append_events(database_url, [new_event(user, 1, ada), new_event(user, 2, UserDeleted())])


def refused(connection: Connection, statement: str) -> None:
    before = connection.execute("SELECT * FROM log.events ORDER BY position").fetchall()
    with pytest.raises(InsufficientPrivilege) as refusal:
        connection.execute(statement.encode())
    assert "append-only" in str(refusal.value) or "permission denied" in str(refusal.value)
    assert connection.execute("SELECT * FROM log.events ORDER BY position").fetchall() == before
    assert len(before) == 2


@pytest.mark.parametrize("statement", REWRITINGS)
def test_not_even_a_superuser_rewrites_history(connection: Connection, statement: str) -> None:
    assert connection.execute("SELECT usesuper FROM pg_user WHERE usename = current_user").fetchone() == (True,)
    refused(connection, statement)


@pytest.mark.parametrize("statement", REWRITINGS)
def test_a_session_that_applies_replication_does_not_rewrite_the_log(connection: Connection, statement: str) -> None:
    connection.execute("SET session_replication_role = replica")
    refused(connection, statement)


@pytest.mark.parametrize("statement", REWRITINGS)
def test_the_role_that_appends_has_no_right_to(connection: Connection, statement: str) -> None:
    connection.execute("SET ROLE orders_writer")
    refused(connection, statement)


def test_the_role_that_appends_can_append(connection: Connection) -> None:
    connection.execute("SET ROLE orders_writer")
    connection.execute("UPDATE log.head SET position = position + 1, recorded_at = now()")
    connection.execute(
        "INSERT INTO log.events "
        "(position, stream, version, type, schema_version, occurred_at, recorded_at, data, metadata) "
        "VALUES (3, 'user-x', 1, 'UserDeleted', 1, now(), now(), '{}', '{}')"
    )
    connection.execute("INSERT INTO log.claims (claim, stream) VALUES ('sku:a', 'product-x')")
    connection.execute("DELETE FROM log.claims WHERE claim = 'sku:a'")
    assert connection.execute("SELECT count(*) FROM log.events").fetchone() == (3,)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE log.events DISABLE TRIGGER refuse_rewriting",
        "DROP TABLE log.events",
        "DELETE FROM log.head",
        "SELECT FROM shop.users",
    ],
)
def test_the_role_that_appends_can_do_nothing_else(connection: Connection, statement: str) -> None:
    connection.execute("SET ROLE orders_writer")
    with pytest.raises(InsufficientPrivilege):
        connection.execute(statement.encode())


def test_a_stream_has_one_event_of_each_version(database_url: str, connection: Connection) -> None:
    row = connection.execute("SELECT stream FROM log.events WHERE version = 2").fetchone()
    assert row is not None
    with pytest.raises(psycopg.errors.UniqueViolation) as refusal:
        append_events(database_url, [new_event(row[0], 2, UserDeleted())])
    assert refusal.value.diag.constraint_name == "one_event_per_version"
    assert connection.execute("SELECT position FROM log.head").fetchone() == (2,)


@pytest.mark.parametrize("name", ['user-"', "user-\\"])
def test_names_that_would_need_escaping_are_refused(database_url: str, name: str) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as refusal:
        append_events(database_url, [new_event(name, 1, UserDeleted())])
    assert refusal.value.diag.constraint_name == "names_need_no_escaping"


@pytest.mark.parametrize("status", [99, 199, 404])
def test_a_kept_answer_that_is_no_success_is_refused(connection: Connection, status: int) -> None:
    with pytest.raises(psycopg.errors.CheckViolation) as refusal:
        connection.execute(
            "INSERT INTO log.idempotency_keys (caller, key, fingerprint, status, position, body)"
            " VALUES ('', 'once', '', %s, 1, '')",
            [status],
        )
    assert refusal.value.diag.constraint_name == "kept_answers_are_successes"
