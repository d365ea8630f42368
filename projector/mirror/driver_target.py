"""A target whose statements we write ourselves, for its driver: what SQLite and MySQL share."""

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, ClassVar

from sqlalchemy import Connection, DateTime, Numeric, Table

from projector.mirror.layout import Build
from projector.mirror.target import Target
from projector.narrowing import RowsRefused
from projector.projection import Projection
from projector.rows import Changes, NewRows, RowMissing
from readmodel.types import MONEY_DECIMALS

_BUILDS = (Build.SERVING, Build.NEXT, Build.RETIRED)

Names = Sequence[str]
Values = tuple[Any, ...]
Convert = Callable[[Any], Any]

_DATE_LENGTH, _TIME_LENGTH = len("2026-01-02"), len("2026-01-02 03:04:05")


class DriverTarget(Target):
    """A target whose rows go through its driver, in statements of ours.

    `money` converts an amount for the driver. The others are words of the dialect: `if_there` begins the part of an
    INSERT that changes a row which exists ({}: the columns of the key), where `given` is the value given for column {}.
    """

    money: ClassVar[Convert]
    if_there: ClassVar[str]
    given: ClassVar[str]
    least: ClassVar[str]
    greatest: ClassVar[str]

    @abstractmethod
    def add(self, connection: Connection, table: Table, names: Names, rows: list[Values], end: str = "") -> None:
        """Insert rows with these columns; `end` is the end of the statement."""

    @abstractmethod
    def update(self, connection: Connection, table: Table, names: Names, key: Names, rows: list[Values]) -> int:
        """Set the columns `names` of the rows with these keys, and return how many there are."""

    def insert(self, connection: Connection, table: Table, new: NewRows) -> None:
        rows = [tuple(row.values()) for row in new.rows]
        self.add(connection, table, new.columns, self._converted(table, new.columns, rows))

    def change(self, connection: Connection, table: Table, changes: Changes) -> None:
        key = [column.name for column in table.primary_key]
        for columns, changed in changes.by_columns():
            rows = [(*row.values(), *_values(of)) for of, row in changed]
            found = self.update(connection, table, columns, key, self._converted(table, [*columns, *key], rows))
            if found != len(rows):
                raise RowMissing(f"{len(rows) - found} of the rows to change are not in {table.name}")
        for (added, least, greatest), sums in changes.by_kinds():
            names = [*key, *added, *least, *greatest]
            settings = [f"{name} = {name} + {self.given.format(name)}" for name in added]
            settings += [f"{name} = {self.least}({name}, {self.given.format(name)})" for name in least]
            settings += [f"{name} = {self.greatest}({name}, {self.given.format(name)})" for name in greatest]
            end = f" {self.if_there.format(', '.join(key))} {', '.join(settings)}"
            rows = [(*_values(of), *row.values()) for of, row in sums]
            self.add(connection, table, names, self._converted(table, names, rows), end)

    def _renames(self, projection: Projection, tables: Names, old: Collection[str]) -> Iterator[tuple[str, str]]:
        """Yield (present name, new name) for each rename of a swap, in order.

        A serving table in `old` gives up its name before the next build's table takes it.
        """
        for name in tables:
            serving, following, retired = (self.named(projection, name, build).name for build in _BUILDS)
            if name in old:
                yield serving, retired
            yield following, serving

    def _converted(self, table: Table, names: Sequence[str], rows: list[Values]) -> list[Values]:
        """Rows as the driver takes them, column by column: that is faster than value by value."""
        by_column = list(zip(*rows, strict=True))
        for number, name in enumerate(names):
            if isinstance(table.c[name].type, Numeric):
                by_column[number] = tuple(map(type(self).money, by_column[number]))
            elif isinstance(table.c[name].type, DateTime):
                by_column[number] = tuple(map(utc_text, by_column[number]))
        return list(zip(*by_column, strict=True))


def utc_text(value: str | None) -> str | None:
    """PostgreSQL's text of a time in UTC, with microseconds and without the zone.

    Raises RowsRefused for another text, for a year of more than four digits, and for a time before our era.
    """
    if value is None:
        return None
    time = value.removesuffix("+00")
    if len(time) == len(value) or len(time) < _TIME_LENGTH or time[_DATE_LENGTH] != " ":
        raise RowsRefused("a time is not between the years 1 and 9999, or not as PostgreSQL writes it in UTC")
    return f"{time}.000000" if len(time) == _TIME_LENGTH else f"{time:0<26}"


@lru_cache(maxsize=10_000)
def counted(value: Any) -> int | None:
    """An amount as a whole number of ten-thousandths. Raises RowsRefused if it has more decimals."""
    if value is None:
        return None
    try:
        scaled = Decimal(value).scaleb(MONEY_DECIMALS)
        whole = int(scaled)
    except (InvalidOperation, ValueError, OverflowError):
        raise RowsRefused("an amount is not a number") from None
    if whole != scaled:
        raise RowsRefused(f"an amount has more than {MONEY_DECIMALS} decimals")
    return whole


@lru_cache(maxsize=10_000)
def checked(value: Any) -> str | None:
    """An amount as text. Raises RowsRefused if it has more decimals than the column keeps."""
    if value is None:
        return None
    counted(value)
    return str(value)


def in_parts(rows: Sequence[Values], size: int) -> Iterator[Sequence[Values]]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _values(key: Any) -> Values:
    return key if isinstance(key, tuple) else (key,)
