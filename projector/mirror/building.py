"""Building a mirror's tables: empty ones on a new target, full ones beside the serving ones for a rebuild."""

from collections.abc import Collection

import psycopg
from sqlalchemy import select
from sqlalchemy.engine import Connection

from projector.dependents import InTheWay
from projector.loop import Loop, Progress
from projector.mirror.layout import Build, Layout
from projector.mirror.target import Target, Unsuitable
from projector.mirror.writer import MirrorWriter, start
from projector.paging import ReadAhead
from projector.projection import Projection
from projector.shadow import Report

# Large batches spare updates, as they do in a replay.
BATCH_EVENTS = 50_000


class MirrorTables:
    """The tables of one projection on a target. `connection` writes them, `log` leads to the log."""

    def __init__(self, target: Target, connection: Connection, projection: Projection, log: psycopg.Connection) -> None:
        self.target, self.connection, self.projection, self.log = target, connection, projection, log
        self._serving = target.layout(projection)

    def prepare(self) -> None:
        """Make the projection's tables and views if they are missing.

        New tables have no indexes yet: see `complete`. Raises Unsuitable if other tables have their names.
        """
        with self.connection.begin():
            found = self.target.existing(self.connection, self._serving)
        if self._serving.checkpoint.name not in found:
            if found:
                raise Unsuitable(
                    f"{self.target.shown} has tables of these names that no mirror made: {', '.join(sorted(found))}; "
                    "use another database"
                )
            self._swap(self._make_following(1), old=())
        self.target.make_views(self.connection, self.projection)

    def complete(self) -> None:
        """Make the indexes that the serving tables lack. Call it when the tables have caught up with the log."""
        with self.connection.begin():
            number = self._generation()
        self.target.complete(self.connection, self.target.layout(self.projection, generation=number))

    def rebuild(self, ahead: ReadAhead, report: Report) -> Progress:
        """Fold the log once more into new tables, while readers use the old ones; then let the new ones serve.

        A crash leaves the old ones serving. Raises Unsuitable, InTheWay, sqlalchemy.exc.DBAPIError and psycopg.Error.
        """
        self.prepare()
        with self.connection.begin():
            self.target.refuse_dependents(self.connection, self.projection)
            number = self._generation()
            old = self.target.existing(self.connection, self._serving)
        following = self._make_following(number + 1)
        try:
            with self.connection.begin():
                self.target.rehearse(self.connection, self.projection)
        except InTheWay:
            with self.connection.begin():
                self.target.drop(self.connection, following)
            raise
        progress = self.fill(ahead, report, Build.NEXT)
        self.target.complete(self.connection, following)
        self._swap(following, old)
        return progress

    def fill(
        self, ahead: ReadAhead, report: Report, build: Build = Build.SERVING, until: int | None = None
    ) -> Progress:
        """Project into a build, up to position `until` or to the end of the log. Returns where the tables then are."""
        writer = MirrorWriter(self.target, self.connection, self.projection, build)
        loop = Loop(self.projection, read_page=ahead.page, writer=writer)
        while True:
            progress = loop.project(self.log, BATCH_EVENTS, until)
            report(progress)
            if not progress.lag:
                return progress

    def _generation(self) -> int:
        number: int = self.connection.execute(select(self._serving.checkpoint.c.generation)).scalar_one()
        return number

    def _make_following(self, number: int) -> Layout:
        """The next build, empty. Drops the tables that a killed rebuild has left behind."""
        following = self.target.layout(self.projection, Build.NEXT, number)
        with self.connection.begin():
            self.target.drop(self.connection, following)
            self.target.drop(self.connection, self.target.layout(self.projection, Build.RETIRED))
        with self.connection.begin():
            self.target.create(self.connection, following)
            start(self.connection, following, self.projection, self.log, number)
        return following

    def _swap(self, following: Layout, old: Collection[str]) -> None:
        names = [*following.tables, "parked", "checkpoint"]
        replaced = {it for it in names if self.target.named(self.projection, it, Build.SERVING).name in old}
        self.target.swap(self.connection, self.projection, names, replaced)
        if replaced:
            with self.connection.begin():
                self.target.drop(self.connection, self.target.layout(self.projection, Build.RETIRED))
