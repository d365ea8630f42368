"""Faults that a careless change could bring: each a small patch of one module, to see whether the checker notices.

The name of a fault says what is wrong with the service that has it.
"""

import asyncio
import os
import signal
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from tests.sabotage.imports import Patch

VARIABLE = "ORDERS_TEST_FAULT"

FAULTS: dict[str, tuple[str, Patch]] = {}


def _fault(module: str) -> Callable[[Patch], Patch]:
    def register(patch: Patch) -> Patch:
        FAULTS[patch.__name__] = (module, patch)
        return patch

    return register


@_fault("command.domain.placing")
def stock_is_not_looked_at(placing: Any) -> None:
    placing._check_stock = lambda known, requested: None


@_fault("command.domain.placing")
def money_is_binary(placing: Any) -> None:
    from eventlog.events.record import replace

    original = placing._price

    def price(lines: Any, products: Any) -> Any:
        items, _ = original(lines, products)
        floats = [it.quantity * float(it.unit_price) for it in items]
        rounded = tuple(replace(it, amount=repr(amount)) for it, amount in zip(items, floats, strict=True))
        return rounded, Decimal(repr(sum(floats)))

    placing._price = price


@_fault("command.domain.cancelling")
def stock_does_not_come_back(cancelling: Any) -> None:
    original = cancelling.cancel
    cancelling.cancel = lambda *args, **more: original(*args, **more)[:1]


@_fault("command.domain.cancelling")
def a_cancellation_forgets_the_one_before(cancelling: Any) -> None:
    from eventlog.events.record import replace

    original = cancelling.cancel

    def cancel(cancelled: Any, *args: Any, **more: Any) -> Any:
        items = tuple(replace(it, cancelled_quantity=0) for it in cancelled.items)
        return original(replace(cancelled, status="placed", items=items), *args, **more)

    cancelling.cancel = cancel


@_fault("eventlog.idempotency")
def keys_are_forgotten(idempotency: Any) -> None:
    idempotency._FIND += b" LIMIT 0"
    idempotency._KEEP += b" ON CONFLICT DO NOTHING"


@_fault("eventlog.append")
def claims_are_not_unique(append: Any) -> None:
    """Nobody finds one either."""
    append._CLAIM += b" ON CONFLICT DO NOTHING"
    from eventlog import read

    async def none(*_: object) -> dict[str, str]:
        return {}

    read.claims = none  # type: ignore[assignment]


@_fault("eventlog.append")
def decisions_use_old_states(append: Any) -> None:
    """What other processes have appended is not looked at, and the number in the stream is the database's affair."""
    append._APPEND = append._APPEND.replace(
        b"event.version, event.type",
        b"(SELECT count(*) FROM log.events AS past WHERE past.stream = event.stream) + "
        b"row_number() OVER (PARTITION BY event.stream ORDER BY event.number), event.type",
    )

    async def none(*_: object) -> list[str]:
        return []

    append.changed_streams = none


@_fault("eventlog.append")
def positions_come_from_a_sequence(append: Any) -> None:
    """What is rolled back leaves a hole, and so does what a connection kept for itself when it ends."""
    from eventlog import connecting

    append._APPEND = append._APPEND.replace(b"head.base + event.number", b"nextval('log.positions')")
    original = connecting.connect

    async def connect(*args: Any, **more: Any) -> Any:
        connection = await original(*args, **more)
        await connection.execute(b"CREATE SEQUENCE IF NOT EXISTS log.positions CACHE 8")
        await connection.execute(b"SELECT nextval('log.positions')")  # somebody was rolled back
        return connection

    connecting.connect = connect  # type: ignore[assignment]


@_fault("eventlog.append")
def answers_come_before_the_commit(append: Any) -> None:
    async def append_soon(connection: Any, batch: Any) -> None:
        async with connection.pipeline():
            for query, parameters in append.statements(batch):
                await connection.execute(query, parameters)

        async def commit() -> None:
            await asyncio.sleep(1)
            await connection.execute(b"COMMIT")

        connection.committing = asyncio.create_task(commit())

    append.append = append_soon


@_fault("eventlog.connecting")
def a_commit_does_not_wait_for_the_disk(connecting: Any) -> None:
    original = connecting.connect

    async def connect(*args: Any, **more: Any) -> Any:
        connection = await original(*args, **more)
        await connection.execute(b"SET synchronous_commit = off")
        return connection

    connecting.connect = connect


@_fault("eventlog.read")
def an_event_is_passed_over(read: Any) -> None:
    """As who swallows an error does."""
    original = read.page
    read.page = lambda *args: [event for event in original(*args) if event.type != "OrderLinesCancelled"]


@_fault("eventlog.read")
def events_are_projected_again(read: Any) -> None:
    """The first half of each page comes once more before its last event, which says where the page ends."""
    original = read.page

    def page(*args: Any) -> Any:
        events = original(*args)
        return events[:-1] + events[: len(events) // 2] + events[-1:]

    read.page = page


@_fault("projector.projections.shop.products")
def stock_is_not_projected(products: Any) -> None:
    def set_the_version(event: Any, of: Any, rows: Any) -> None:
        rows.set(products.Product, of.id, {"version": of.version})

    changed = products.stock_changed
    products.ON = {kind: set_the_version if it is changed else it for kind, it in products.ON.items()}


@_fault("projector.loop")
def the_checkpoint_moves_before_the_rows(loop: Any) -> None:
    """And just then the process dies."""

    def project(self: Any, connection: Any, limit: int, until: int | None = None) -> Any:
        progress = self.look(connection)
        if progress.lag:
            connection.execute("UPDATE shop.checkpoint SET position = %s", (progress.head,))
            os.kill(os.getpid(), signal.SIGKILL)
        return progress

    loop.Loop.project = project
