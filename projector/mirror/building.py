"""Building a mirror's tables: empty ones on a new target, full ones beside the serving ones for a rebuild."""

from collections.abc import Collection

import psycopg
from sqlalchemy import select
from sqlalchemy.engine import Connection

from projector.loop import Loop, Progress
from projector.mirror import writer
from projector.mirror.layout import Build, Layout
from projector.mirror.target import Target, Unsuitable
from projector.mirror.writer import MirrorWriter
from projector.projection import Projection
from projector.read_ahead import ReadAhead
from projector.shadow import Report

# Large batches spare updates, as they do in a replay.
BATCH_EVENTS = 50_000


def prepare(target: Target, connection: Connection, projection: Projection, log: psycopg.Connection) -> None:
    """Make the projection's tables and views if they are missing.

    New tables have no indexes yet: see `complete`. Raises Unsuitable if other tables have their names.
    """
    serving = target.layout(projection)
    with connection.begin():
        found = target.existing(connection, serving)
    if serving.checkpoint.name not in found:
        _make_serving(target, connection, projection, log, found)
    target.make_views(connection, projection)


def complete(target: Target, connection: Connection, projection: Projection) -> None:
    """Make the indexes that the serving tables lack. Call it when the tables have caught up with the log."""
    checkpoint = target.layout(projection).checkpoint
    with connection.begin():
        number = connection.execute(select(checkpoint.c.generation)).scalar_one()
    target.complete(connection, target.layout(projection, generation=number))


def _make_serving(
    target: Target, connection: Connection, projection: Projection, log: psycopg.Connection, found: Collection[str]
) -> None:
    if found:
        raise Unsuitable(
            f"{target.shown} has tables of these names that no mirror made: {', '.join(sorted(found))}; "
            "use another database"
        )
    following = _make_following(target, connection, projection, log, 1)
    _swap(target, connection, projection, following, old=())


def rebuild(
    target: Target,
    connection: Connection,
    projection: Projection,
    log: psycopg.Connection,
    ahead: ReadAhead,
    report: Report,
) -> Progress:
    """Fold the log once more into new tables, while readers use the old ones; then let the new ones serve.

    A crash leaves the old ones serving. Raises Unsuitable, sqlalchemy.exc.DBAPIError and psycopg.Error.
    """
    prepare(target, connection, projection, log)
    serving = target.layout(projection)
    with connection.begin():
        target.refuse_dependents(connection, projection)
        number = connection.execute(select(serving.checkpoint.c.generation)).scalar_one()
        old = target.existing(connection, serving)
    following = _make_following(target, connection, projection, log, number + 1)
    loop = Loop(projection, read_page=ahead.page, writer=MirrorWriter(target, connection, projection, Build.NEXT))
    progress = fill(loop, log, report)
    target.complete(connection, following)
    _swap(target, connection, projection, following, old)
    return progress


def fill(loop: Loop, log: psycopg.Connection, report: Report, until: int | None = None) -> Progress:
    """Project up to position `until`, or to the end of the log. Returns where the tables then are."""
    while True:
        progress = loop.project(log, BATCH_EVENTS, until)
        report(progress)
        if not progress.lag:
            return progress


def _make_following(
    target: Target, connection: Connection, projection: Projection, log: psycopg.Connection, number: int
) -> Layout:
    """The next build, empty; what a rebuild that was killed has left behind is dropped."""
    following = target.layout(projection, Build.NEXT, number)
    with connection.begin():
        target.drop(connection, following)
        target.drop(connection, target.layout(projection, Build.RETIRED))
    with connection.begin():
        target.create(connection, following)
        writer.start(connection, following, projection, log, number)
    return following


def _swap(
    target: Target, connection: Connection, projection: Projection, following: Layout, old: Collection[str]
) -> None:
    names = [*following.tables, "parked", "checkpoint"]
    replaced = {name for name in names if target.named(projection, name, Build.SERVING).name in old}
    target.swap(connection, projection, names, replaced)
    if replaced:
        with connection.begin():
            target.drop(connection, target.layout(projection, Build.RETIRED))
