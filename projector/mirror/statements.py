"""Common to the statements of SQLite and MySQL: rows grouped by the columns that change, values for the drivers."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any

from sqlalchemy import Column, DateTime, Numeric, Table

from projector.narrowing import RowsRefused
from projector.rows import Changes, Named
from readmodel.types import MONEY_DECIMALS

Values = tuple[Any, ...]
Convert = Callable[[Any], Any]

_DATE_LENGTH, _TIME_LENGTH = len("2026-01-02"), len("2026-01-02 03:04:05")


def converters(table: Table, money: Convert) -> dict[str, Convert]:
    """For the columns whose values the driver does not take as handlers give them: the function that converts one."""
    found: dict[str, Convert] = {}
    for column in table.columns:
        if _is(column, Numeric):
            found[column.name] = money
        elif _is(column, DateTime):
            found[column.name] = utc_text
    return found


def utc_text(value: str | None) -> str | None:
    """PostgreSQL's text of a time in UTC, as text with microseconds and without the zone.

    Raises RowsRefused for another text, as a handler may write one, for a year of more than four digits, and for a time
    before our era.
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


def converted(rows: Iterable[Sequence[Any]], columns: Sequence[str], convert: Mapping[str, Convert]) -> list[Values]:
    """Rows as the driver takes them, column by column: that is faster than value by value."""
    by_column = list(zip(*rows, strict=True))
    for number, name in enumerate(columns):
        if name in convert:
            by_column[number] = tuple(map(convert[name], by_column[number]))
    return list(zip(*by_column, strict=True))


def updates(changes: Changes) -> Iterator[tuple[Named, list[Values]]]:
    """Rows whose same columns change: the columns, and for each row the new values and then the key's."""
    for columns, rows in changes.by_columns():
        yield columns, [(*row.values(), *_values(key)) for key, row in rows]


def sums(changes: Changes) -> Iterator[tuple[tuple[Named, Named, Named], list[Values]]]:
    """Rows that add to the same columns: (sums, least, greatest), and for each row the key's values and then those."""
    for kinds, rows in changes.by_kinds():
        yield kinds, [(*_values(key), *row.values()) for key, row in rows]


def in_parts(rows: Sequence[Values], size: int) -> Iterator[Sequence[Values]]:
    """The rows, `size` at a time."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def key_of(table: Table) -> list[str]:
    """The names of the primary key's columns."""
    return [column.name for column in table.primary_key]


def _values(key: Any) -> Values:
    return key if isinstance(key, tuple) else (key,)


def _is(column: Column[Any], kind: type[Any]) -> bool:
    return isinstance(column.type, kind)
