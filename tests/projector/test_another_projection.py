"""A projection of one's own, with its table and its route, in one file: added to a log that is already there."""

from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import APIRouter, Request, Response
from psycopg import Connection
from sqlalchemy import Numeric, Text, cast, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from contract.callers import PUBLIC
from contract.requests import StrictRoute
from eventlog.events import OrderPlaced
from projector.follower import Follower
from projector.loop import Loop
from projector.parked import held_back
from projector.projection import Envelope, Projection
from projector.replay import replay
from projector.rows import Rows
from projector.shadow import Shadow
from projector.tables import make_missing
from projector.verify import verify
from query.database import Reads
from query.routes import json_response
from query.statements import beside_checkpoint, compiled, is_current
from query.sync import Sync
from readmodel.base import checkpoint_of, read_metadata, table_of
from service.projections import PROJECTIONS
from tests.builders import Writing
from tests.projecting import sweep
from tests.projector.read_tables import contents, head, position
from tests.query.conftest import application, client_of

# --- the projection: what each currency turned over, and the largest order in it


class Base(DeclarativeBase):
    metadata = read_metadata("turnover", version=1)


class Turnover(Base):
    __tablename__ = "turnover"

    currency: Mapped[str] = mapped_column(Text, primary_key=True)
    total: Mapped[Decimal] = mapped_column(Numeric)
    largest: Mapped[Decimal] = mapped_column(Numeric)


def placed(event: OrderPlaced, of: Envelope, rows: Rows) -> None:
    total = Decimal(event.total)
    rows.add(Turnover, event.currency, {"total": total}, greatest={"largest": total})


TURNOVER = Projection(tables=(Turnover,), on={OrderPlaced: placed})


def router(reads: Reads, sync: Sync) -> APIRouter:
    routes = APIRouter(route_class=StrictRoute)
    table, checkpoint = table_of(Turnover), checkpoint_of(Base.metadata)
    statement = compiled(
        select(checkpoint.c.position, table.c.currency, cast(table.c.total, Text))
        .select_from(beside_checkpoint(Base.metadata, table))
        .where(is_current(Base.metadata)),
        Base.metadata,
    )

    @routes.get("/turnover", openapi_extra={"security": PUBLIC})
    async def get_turnover(request: Request) -> Response:
        rows = await reads.rows(statement, {})
        shown = ",".join(f'"{currency}":"{total}"' for _, currency, total in rows if currency)
        return json_response(f"{{{shown}}}".encode(), rows[0][0])

    return routes


# --- and what it takes to use it


@pytest.fixture
def log(writing: Writing, database_url: str, connection: Connection) -> Iterator[Writing]:
    """A log that is already there, projected into the other tables."""
    writing.history(orders=20)
    sweep(database_url)
    make_missing(connection, TURNOVER)
    return writing


def totals(connection: Connection, schema: str = "turnover") -> list[tuple[Any, ...]]:
    return connection.execute(
        f"SELECT currency, total::text, largest::text FROM {schema}.turnover ORDER BY 1".encode()
    ).fetchall()


def expected(connection: Connection) -> list[tuple[Any, ...]]:
    return connection.execute(
        "SELECT currency, sum(total)::text, max(total)::text FROM shop.orders GROUP BY 1 ORDER BY 1"
    ).fetchall()


def nobody(_: object) -> None:
    """Reports go to nobody."""


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.anyio
async def test_it_is_filled_from_a_log_that_is_there_and_read(
    log: Writing, database_url: str, other: Connection
) -> None:
    with closing(Follower(database_url, TURNOVER)) as follower:
        follower.sweep()
    assert totals(other) == expected(other)
    assert position(other, "turnover") == head(other)
    async with Reads(database_url) as reads:
        sync = Sync.of_tables(reads, Base.metadata)
        async with client_of(application(router(reads, sync))) as api:
            answer: httpx.Response = await api.get("/turnover")
    assert answer.json() == {currency: total for currency, total, _ in expected(other)}
    assert answer.headers["sync-token"] == str(head(other))


def test_batches_of_every_size_add_up_to_the_same_sums(log: Writing, connection: Connection) -> None:
    for limit in (1, 2, 3, 7, 20, 1_000):
        with Shadow(connection, TURNOVER, f"turnover_by_{limit}") as shadow:
            while shadow.loop.project(connection, limit).events:
                pass
            assert totals(connection, shadow.schema) == expected(connection), limit


def test_it_is_replayed_and_verified_alone(log: Writing, database_url: str, other: Connection) -> None:
    before = contents(other)
    other.execute("UPDATE shop.checkpoint SET position = 1")  # a replay of the shop would be seen
    replay(database_url, TURNOVER, nobody)
    assert totals(other) == expected(other)
    verdict = verify(database_url, TURNOVER, nobody)
    assert (verdict.position, verdict.differences) == (head(other), [])
    assert (contents(other), position(other)) == (before, 1)
    other.execute("UPDATE turnover.turnover SET total = total + 1")
    assert len(verify(database_url, TURNOVER, nobody).differences) == len(expected(other))


def test_a_fault_in_its_handlers_never_shows_in_another_projection(
    log: Writing, database_url: str, connection: Connection
) -> None:
    def failing(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    faulty = Projection(tables=TURNOVER.tables, on={OrderPlaced: failing})
    while Loop(faulty).project(connection, 1_000).events:
        pass
    assert len(held_back(connection, TURNOVER)) == 20
    log.order(log.user(), {log.product(): 1})
    sweep(database_url)
    for projection in PROJECTIONS:
        assert held_back(connection, projection) == []
        assert verify(database_url, projection, nobody).differences == []


def test_an_old_release_and_a_new_one_do_not_read_each_others_tables(
    log: Writing, database_url: str, other: Connection
) -> None:
    follower = Follower(database_url, TURNOVER)
    follower.sweep()
    other.execute("UPDATE turnover.checkpoint SET version = 0")
    other.execute("UPDATE turnover.turnover SET total = 0")
    log.order(log.user(), {log.product(): 1})
    follower.sweep()  # rebuilds
    follower.sweep()
    follower.close()
    sweep(database_url)
    assert totals(other) == expected(other)
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT version FROM turnover.checkpoint").fetchone() == (1,)
