"""What a list can be filtered by, and which index serves it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import sqlalchemy as sa


class Through(NamedTuple):
    """Another table, whose index finds the rows of a filter in the order of a sort.

    `condition` is the filter on that table; `column` has the values of the sort called `sort`, and `id` the row's id.
    It serves the filter in that sort, whatever filters there are beside it. Without it PostgreSQL may walk the sort's
    index of the listed table instead, past all rows that are newer than those of the filter.
    """

    condition: sa.ColumnElement[bool]
    sort: str
    column: sa.ColumnElement[Any]
    id: sa.ColumnElement[Any]


class Filter(NamedTuple):
    """A filter: its condition, or one for each value where the value decides which index serves.

    `ordered`: the sorts in whose order an index finds the rows of this filter, whatever the value. With another sort,
    or beside another filter, the best plan depends on the values, and PostgreSQL plans with them each time.
    `apart`: with another sort, the rows of this filter are found first and then sorted. PostgreSQL expects them all
    over the sort's index; but those of a cheap product are at the end of the orders by total, behind all others.
    """

    condition: sa.ColumnElement[bool] | Mapping[Any, sa.ColumnElement[bool]]
    ordered: frozenset[str] = frozenset()
    through: Through | None = None
    apart: bool = False


def ranges(column: sa.ColumnElement[Any]) -> dict[str, Filter]:
    """The filters `<column>[gte]`, `[gt]`, `[lte]` and `[lt]`, by field name."""
    name = str(column.key)

    def bound(kind: str) -> sa.ColumnElement[Any]:
        return sa.bindparam(f"{name}__{kind}", type_=column.type)

    ordered = frozenset({name})
    return {
        f"{name}__gte": Filter(column >= bound("gte"), ordered),
        f"{name}__gt": Filter(column > bound("gt"), ordered),
        f"{name}__lte": Filter(column <= bound("lte"), ordered),
        f"{name}__lt": Filter(column < bound("lt"), ordered),
    }
