"""Mirroring in a test's own process, and reading what a mirror has."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from psycopg import Connection
from sqlalchemy import create_engine, select
from sqlalchemy.engine import Engine

from projector.loop import Progress
from projector.mirror.following import Mirror
from projector.mirror.standings import standings
from projector.mirror.targets import target_of
from projector.mirror.verifying import verify
from projector.projection import Projection
from projector.verify import Difference
from service.projections import PROJECTIONS

# Where the tables of the read model are: in the database itself, unless it has schemas.
HERE = {"shop": None, "sales": None, "activity": None}


def catch_up(database_url: str, target_url: str, projections: Sequence[Projection] = PROJECTIONS) -> dict[str, int]:
    """Mirror all that the log has. Returns the positions."""
    reached: dict[str, int] = {}

    def report(projection: Projection, progress: Progress) -> None:
        reached[projection.name] = progress.position

    Mirror(database_url, target_of(target_url), projections).catch_up(report)
    return reached


def have_caught_up(connection: Connection) -> bool:
    """Whether all projections are listed at the head of the log."""
    found = standings(connection, PROJECTIONS)
    return len(found) == len(PROJECTIONS) and not any(it.lag_events for it in found)


def rebuild(database_url: str, target_url: str, projection: Projection) -> Progress:
    return Mirror(database_url, target_of(target_url), [projection]).rebuild(lambda _: None)


def differences(
    database_url: str, target_url: str, projections: Sequence[Projection] = PROJECTIONS
) -> list[Difference]:
    """What a mirror has otherwise than the log says."""
    found = []
    for projection in projections:
        target = target_of(target_url)
        try:
            found += verify(database_url, target, projection, lambda _: None).differences
        finally:
            target.close()
    return found


def reading(url: str) -> Engine:
    """An engine for the ORM classes, as docs/mirrors.md has it."""
    if url.startswith("postgresql"):
        return create_engine(url.replace("postgresql", "postgresql+psycopg", 1))
    return create_engine(url.replace("mysql:", "mysql+pymysql:", 1)).execution_options(schema_translate_map=HERE)


def rows(url: str, table: Any) -> list[tuple[Any, ...]]:
    """All rows of a table of the read model, by the order of its key."""
    engine = reading(url)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))]
    finally:
        engine.dispose()


@contextmanager
def streaming(url: str, table: Any) -> Iterator[Iterator[tuple[Any, ...]]]:
    """The same, a thousand rows at a time."""
    engine = reading(url)
    with engine.connect() as connection:
        statement = select(table).order_by(*table.primary_key)
        yield (tuple(row) for row in connection.execute(statement, execution_options={"yield_per": 1_000}))
    engine.dispose()
