"""A projection: its tables, and for each event type the function that says which rows it changes.

One object is the whole registration. The loop, replay, verify, status and metrics take a projection; nothing else knows
the names of its tables. Each projection has a schema of its own, with its own checkpoint and parked streams.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from sqlalchemy import MetaData, Table
from sqlalchemy.orm import DeclarativeBase

from eventlog.events import NOT_PROJECTED, SCHEMA_VERSIONS
from eventlog.read import EventCount
from projector.rows import Rows
from readmodel.base import table_of, version_of


class Envelope(NamedTuple):
    """The metadata of an event that a handler may use beside its data.

    `id` is the one in the stream's name, `version` the stream's version after this event, `at` the time at which it
    happened (PostgreSQL's text, in UTC: `2026-01-02 03:04:05.678901+00`).
    """

    id: str
    version: int
    at: str


Handler = Callable[[Any, Envelope, Rows], None]


@dataclass(frozen=True, eq=False)
class Projection:
    """The fold of the log into the tables of one schema.

    `on` maps event types to handlers; all other types are not read. Instead of that, `every` handles the numbers of all
    events by minute and type: it reads no data, so no event can fail it. Handlers are pure: they read no table and no
    clock. A worker projects at most `batch_events` in a transaction: with more, it writes rows that many events add to
    less often, and readers see older rows meanwhile. It rests for `rest_seconds` when it has caught up: less work for a
    projection that need not be current at once.

    In `tables` a table comes before those that refer to it. The version stands in the metadata of the tables: raise it
    there when tables or handlers change what the rows are.
    """

    tables: tuple[type[DeclarativeBase], ...]
    on: Mapping[type[Any], Handler] = field(default_factory=dict)
    every: Callable[[EventCount, Rows], None] | None = None
    rest_seconds: float = 0.0
    batch_events: int = 20_000

    def __post_init__(self) -> None:
        for number, table in enumerate(self.plain_tables):
            if missing := [it for it in table.foreign_keys if it.column.table not in self.plain_tables[: number + 1]]:
                raise ValueError(
                    f"{table.name} refers to {missing[0].column.table.name}, which comes after it in tables"
                )

    @property
    def name(self) -> str:
        """The name on the command line, in metrics and in /projections; also that of the schema."""
        return str(self.metadata.schema)

    @property
    def version(self) -> int:
        return version_of(self.metadata)

    @property
    def metadata(self) -> MetaData:
        """The tables, with the checkpoint and the parked streams."""
        return self.tables[0].metadata

    @cached_property
    def types_read(self) -> list[str] | None:
        """The names of the event types that are read; None: all types.

        A projection that handles every known type must notice an unknown one, or its tables would lack something.
        """
        handled = {cls.__name__ for cls in self.on}
        if self.every is not None or handled >= {cls.__name__ for cls in SCHEMA_VERSIONS if cls not in NOT_PROJECTED}:
            return None
        return sorted(handled)

    @cached_property
    def plain_tables(self) -> tuple[Table, ...]:
        return tuple(table_of(mapped) for mapped in self.tables)

    @cached_property
    def stream_columns(self) -> Mapping[str, tuple[str, str]]:
        """For each table whose rows belong to a stream: the stream's kind, and the column with the stream's id.

        The table of the class `Order` belongs to the streams of the kind `order`, by its id; the table of an order's
        lines belongs to them too, because its primary key begins with a foreign key to orders.
        """
        kinds = {table_of(mapped).name: mapped.__name__.lower() for mapped in self.tables}
        found: dict[str, tuple[str, str]] = {}
        for table in self.plain_tables:
            first = next(iter(table.primary_key))
            if first.name == "id":
                found[table.name] = (kinds[table.name], "id")
            elif owner := next((key.column.table.name for key in first.foreign_keys), None):
                found[table.name] = (found[owner][0], first.name)
        return found

    @cached_property
    def references(self) -> Mapping[type[DeclarativeBase], tuple[tuple[str, str], ...]]:
        """For each table: its columns that refer to a row of another stream, each with that stream's kind."""
        streams = self.stream_columns
        found: dict[type[DeclarativeBase], tuple[tuple[str, str], ...]] = {}
        for mapped, table in zip(self.tables, self.plain_tables, strict=True):
            foreign = [(key.parent.name, streams[key.column.table.name][0]) for key in table.foreign_keys]
            own = streams.get(table.name, ("", ""))[0]
            if others := tuple((column, kind) for column, kind in foreign if kind != own):
                found[mapped] = others
        return found

    def referred_streams(self, rows: Rows) -> Iterator[str]:
        """The streams whose rows the new rows of `rows` refer to."""
        for mapped, columns in self.references.items():
            for row in rows.of(mapped).inserted.values():
                yield from (f"{kind}-{row[column]}" for column, kind in columns if row[column] is not None)


def named(projections: Iterable[Projection], name: str) -> Projection | None:
    return next((it for it in projections if it.name == name), None)
