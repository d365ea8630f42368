"""Each kind of damage, done behind the triggers' back, is found as what it is, and nothing else is."""

import subprocess
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Self

import psycopg
import pytest

from service.doctor import Examination, Finding, claims, examine, orders
from service.doctor.finding import FINDINGS_MAX, with_psql
from tests.builders import Writing
from tests.conftest import Servers, copy_of_template
from tests.service.doctor.examining import statements

ODD_ADDRESSES = ["ADA@EXAMPLE.ORG", "ÅSA.ΣΑΣ@example.org", "İstanbul.ẞ@example.org", "ǅ@example.org"]
NOBODY = "01a203bc-74ac-725f-92ed-08497719d4bb"

# The last event of a product that has no snapshot, and a cancellation of one line.
OF_A_SHORT_STREAM = "stream NOT IN (SELECT stream FROM log.snapshots)"
LAST_STOCK = f"""position = (
    SELECT max(position) FROM log.events
    WHERE type = 'StockAdjusted' AND {OF_A_SHORT_STREAM} AND data->>'reason' = 'last'
)"""


def first(type_name: str) -> str:
    return f"position = (SELECT min(position) FROM log.events WHERE type = '{type_name}' AND {OF_A_SHORT_STREAM})"


def change(type_name: str, path: str, value: str, where: str | None = None) -> str:
    """A statement that sets a member of an event's data to a JSON value."""
    data = f"jsonb_set(data::jsonb, '{{{path}}}', '{value}')::json"
    return f"UPDATE log.events SET data = {data} WHERE {where or first(type_name)}"


# A user who is nothing but registered.
REGISTERED = """position = (
    SELECT min(position) FROM log.events
    WHERE type = 'UserRegistered' AND stream NOT IN (SELECT stream FROM log.events WHERE version > 1)
)"""


@pytest.fixture(scope="module")
def template(servers: Servers) -> Iterator[str]:
    """A database with a history of everything, projected to its end, from which each test gets a copy."""
    for url in copy_of_template(servers):
        with Writing(url) as writing:
            writing.history(orders=30)
            for address in ODD_ADDRESSES:
                writing.user(email=address)
            often = writing.product()
            for _ in range(40):
                writing.adjust_stock(often, -1)
            seldom = writing.product(stock=5)
            writing.change_product(seldom, "Tea", Decimal("2.75"))
            writing.cancel(writing.order(writing.user(), {seldom: 2}), {1: 1})
            writing.adjust_stock(writing.product(stock=5), -1, "last")
        with psycopg.connect(url) as connection:
            connection.execute("UPDATE shop.checkpoint SET position = (SELECT position FROM log.head)")
        yield psycopg.conninfo.conninfo_to_dict(url)["dbname"]  # type: ignore[misc]


@pytest.fixture
def damaged(servers: Servers, template: str) -> Iterator[psycopg.Connection]:
    """A copy, for a superuser who has switched off what refuses to rewrite history."""
    for url in copy_of_template(servers, template):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("ALTER TABLE log.events DISABLE TRIGGER refuse_rewriting")
            yield connection


def found_by(connection: psycopg.Connection) -> dict[str, list[Finding]]:
    examination: Examination = examine(connection)
    connection.isolation_level, connection.read_only = None, None
    # The tests' server is not durable, others use it, and no worker runs.
    of_the_server = {"durability", "left open", "projections"}
    return {name: it for name, it in examination.findings.items() if it and name not in of_the_server}


def test_a_skipped_event_that_cannot_be_read_is_told_and_no_longer_makes_the_log_ill(
    damaged: psycopg.Connection,
) -> None:
    damaged.execute(change("ProductChanged", "name", "7").encode())
    (found,) = found_by(damaged)["readable"]
    assert not found.accepted
    assert "orders parked" in found.remedy
    damaged.execute(
        "INSERT INTO log.skips (projection, position, stream, version, reason, skipped_by, skipped_at) "
        "SELECT 'shop', position, stream, version, 'why', 'me', '2026-11-22T13:51:00Z' FROM log.events "
        f"WHERE {first('ProductChanged')}"
    )
    (found,) = found_by(damaged)["readable"]
    assert found.what.endswith("; shop skipped it on 2026-11-22 13:51 UTC")
    assert found.accepted
    assert Examination(findings={"readable": [found]}).healthy


def test_a_whole_log_gives_no_finding(damaged: psycopg.Connection) -> None:
    assert found_by(damaged) == {}


A_HOLE = """
    UPDATE log.events SET position = position + 7 WHERE position = (SELECT max(position) FROM log.events);
    UPDATE log.head SET position = position + 7
"""

DAMAGES = [
    ("UPDATE log.head SET position = position + 3", "positions", "log.head is at position"),
    ("DELETE FROM log.head", "positions checkpoint", "no row"),
    (A_HOLE, "positions", "there is no event at positions"),
    ("UPDATE log.events SET recorded_at = recorded_at - interval '1 day' WHERE position = 5", "time", "event 5 was"),
    (
        f"UPDATE log.events SET version = 9 WHERE {LAST_STOCK}",
        "versions",
        "3 events with versions from 1 to 9, not from",
    ),
    (
        f"UPDATE log.events SET version = version + 1 WHERE {REGISTERED}",
        "versions",
        "1 events with versions from 2 to 2",
    ),
    (
        f"UPDATE log.events SET type = 'ProductPainted' WHERE {first('ProductChanged')}",
        "readable",
        "is not known to this",
    ),
    (change("ProductChanged", "name", "7"), "readable", "Expected `str`, got `int`"),
    (change("StockAdjusted", "stock_after", "3", LAST_STOCK), "stock", "is wrong at version 3"),
    (
        change("StockAdjusted", "stock_after", "-1", LAST_STOCK)
        + ";"
        + change("StockAdjusted", "delta", "-6", LAST_STOCK),
        "stock",
        "is below zero at version 3",
    ),
    (change("StockReserved", "order_id", f'"{NOBODY}"'), "reservations", f"order-{NOBODY} wants 0 of"),
    (change("StockReserved", "quantity", "999"), "reservations stock", "but reserved 999 in 1 events"),
    (change("StockReleased", "order_id", f'"{NOBODY}"'), "releases", f"order-{NOBODY} cancelled 0 of"),
    (change("OrderPlaced", "total", '"999.00"'), "totals", "has the total 999.00, but its lines add up to"),
    (change("OrderPlaced", "items,0,amount", '"999.00"'), "totals", "1 of its lines are not quantity x unit_price"),
    (change("OrderLinesCancelled", "cancelled_total_after", '"999.00"'), "cancelled totals", "999.00 in all"),
    (change("OrderLinesCancelled", "amount", '"999.00"'), "cancelled totals", "cancels 999.00, "),
    (change("OrderLinesCancelled", "lines,0,cancelled_after", "99"), "cancelled lines", "says that 99 of line 1"),
    ("DELETE FROM log.claims WHERE claim = 'email:ada@example.org'", "claims", "has no claim on its email"),
    ("DELETE FROM log.claims WHERE claim = 'order:o1-3'", "claims", "has no claim on its order"),
    (
        "INSERT INTO log.claims (claim, stream) VALUES ('sku:ghost', 'product-none')",
        "claims",
        "product-none has a claim on a sku that no event gives it",
    ),
    (
        "UPDATE log.claims SET stream = 'user-other' WHERE claim = 'user:u1-2'",
        "claims",
        "user-other has a claim on a user that",
    ),
    (
        "UPDATE log.snapshots SET state = jsonb_set(state::jsonb, '{stock}', '1')::json",
        "snapshots",
        "differs from the state of its 40 events",
    ),
    ("UPDATE log.snapshots SET version = 400", "snapshots", "is of version 400, but the stream ends at 42"),
    ("UPDATE log.snapshots SET state = '{}'", "snapshots", "cannot be read"),
    ("UPDATE shop.checkpoint SET position = 10000", "checkpoint", "has projected up to position 10000, but the log"),
]


@pytest.mark.parametrize(("damage", "checks", "words"), DAMAGES)
def test_the_doctor_finds_each_kind_of_damage(
    damaged: psycopg.Connection, damage: str, checks: str, words: str
) -> None:
    damaged.execute(damage.encode())
    found = found_by(damaged)
    findings = [finding for them in found.values() for finding in them]
    assert set(found) in ({checks}, set(checks.split())), found
    assert any(words in finding.what for finding in findings), found
    assert all(finding.remedy for finding in findings)


def test_the_statement_that_repairs_a_claim_repairs_it(damaged: psycopg.Connection) -> None:
    damaged.execute("UPDATE log.claims SET stream = 'user-o''brien' WHERE claim = 'user:u1-2'")
    for finding in found_by(damaged)["claims"]:
        for statement in statements(finding.remedy):
            damaged.execute(statement.encode())
    assert found_by(damaged) == {}


def test_a_shell_hands_the_statement_of_a_remedy_to_psql_as_it_is() -> None:
    statement = r"""SELECT 'a"b$HOME`id`\'"""
    command = with_psql(f"repair it: {statement}").removeprefix("repair it: `").removesuffix("`")
    script = f'psql() {{ printf %s "$3"; }}; {command}'
    assert subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True).stdout == statement


def test_the_doctor_prints_only_the_first_findings_of_a_kind(damaged: psycopg.Connection) -> None:
    damaged.execute("DELETE FROM log.claims")
    told = found_by(damaged)["claims"]
    assert len(told) == FINDINGS_MAX + 1
    assert told[-1].what == "there are more of the same kind"


class Counting(psycopg.Cursor[Any]):
    """Notes how many rows came."""

    most = 0

    def execute(self, *arguments: Any, **options: Any) -> Self:
        super().execute(*arguments, **options)
        Counting.most = max(Counting.most, self.rowcount)
        return self


def test_a_check_fetches_no_more_rows_than_it_tells(damaged: psycopg.Connection) -> None:
    damaged.execute("DELETE FROM log.claims")
    damaged.execute(change("OrderPlaced", "total", '"1.00"', "type = 'OrderPlaced'").encode())
    damaged.cursor_factory = Counting
    for check in (*claims.CHECKS, orders.CHECKS[0]):
        assert len(check.findings(damaged)) == FINDINGS_MAX + 1
    assert Counting.most == FINDINGS_MAX + 1


def test_a_check_that_takes_too_long_is_reported_as_not_checked_and_the_others_go_on(
    damaged: psycopg.Connection,
) -> None:
    damaged.execute(
        "CREATE FUNCTION log.slow(bigint) RETURNS bigint LANGUAGE sql VOLATILE AS 'SELECT pg_sleep(9); SELECT $1'"
    )
    damaged.execute("ALTER TABLE log.snapshots RENAME TO hidden")
    damaged.execute(
        "CREATE VIEW log.snapshots AS "
        "SELECT stream, log.slow(version)::integer AS version, shape, state FROM log.hidden"
    )
    examination = examine(damaged, check_seconds_max=1)
    said = "a statement took longer than 1 s: run it again when the server has less to do"
    assert examination.not_checked == {"snapshots": said}
    assert "snapshots" not in examination.findings
    assert not examination.healthy
    assert examination.findings["checkpoint"] == []


def test_an_examination_leaves_no_lock_and_no_transaction_behind(damaged: psycopg.Connection) -> None:
    seen: list[set[str]] = []

    def look(_: str) -> None:
        with psycopg.connect(damaged.info.dsn, autocommit=True) as other:
            locks = other.execute(
                "SELECT relation::regclass::text FROM pg_locks WHERE pid = %s AND locktype = 'relation' AND granted "
                "AND (mode <> 'AccessShareLock' OR relation = 'shop.checkpoint'::regclass)",
                (damaged.info.backend_pid,),
            ).fetchall()
            seen.append({name for (name,) in locks})

    examine(damaged, look)
    assert seen
    assert not set().union(*seen), "a replay changes the places of the tables meanwhile, and writers write"
    assert damaged.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
