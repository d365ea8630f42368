"""Lists: from filters, a sort and a cursor to one select, and from its rows to a page."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import sqlalchemy as sa
from fastapi import Request, Response
from sqlalchemy.dialects.postgresql import ARRAY

from contract.callers import NOBODYS_ID, caller_of
from query.database import Reads, Statement
from query.filters import Filter, Through, ranges
from query.paging import Place, Sort, cursor_of, place_of, tie
from query.parameters import PAGE_LENGTH_MAX, PageParameters
from query.parked import PARKED, absent, any_parked, is_parked
from query.routes import page_response
from query.sharing import Sharing
from query.statements import beside_checkpoint, compiled, is_current
from query.sync import Sync
from query.views import JsonText, as_bytes
from readmodel.base import checkpoint_of

# Statements are compiled once for each combination of filters and sort that is asked for; this many are kept.
SHAPES_MAX = 512
# A page ends early when its rows would weigh more, so memory does not grow with their size. The weight of an order is
# the number of its lines, and a line has 1.5 KB at most.
PAGE_WEIGHT_MAX = 4_000
# The window of a row and of those before it; one for all columns, so that PostgreSQL passes over the rows once.
_SO_FAR = (None, 0)


class Shape(NamedTuple):
    """The part of a request that decides a statement's text; the rest are its parameters."""

    filters: tuple[tuple[str, object], ...]
    sort: str
    continued: bool


class Page(NamedTuple):
    """The documents of one page as JSON, as of `position`, and its last place if there is a next page.

    `known` is whether its owner is in the tables; `parked`, whether some of what it lists is held back, or the owner
    that is not known.
    """

    position: int
    parked: bool
    known: bool
    documents: bytes
    last: Place | None


class Listing:
    """One list of the API.

    `view` makes a document of a row; `visible` says which rows can be listed at all; `owner` is a table in which the
    row `<owner id>` must be for the list to exist. `belongs_to` names the filter by the user to whom a row belongs, if
    rows belong to users: a viewer who sees one user's resources gets the rows of that user alone. `weight` is the
    column that says how large a row's document is, if that differs much.
    """

    def __init__(
        self,
        reads: Reads,
        sync: Sync,
        table: sa.Table,
        view: Callable[[sa.FromClause], JsonText],
        *,
        sorts: Mapping[str, Sort],
        filters: Mapping[str, Filter],
        visible: sa.ColumnElement[bool] | None = None,
        owner: tuple[sa.Table, str] | None = None,
        weight: sa.Column[Any] | None = None,
        belongs_to: str | None = None,
    ) -> None:
        self._reads = reads
        self._sync = sync
        self._table = table
        self._view = view
        self._sorts = sorts
        self._filters = filters
        self._belongs_to = belongs_to
        self._visible = sa.true() if visible is None else visible
        self._owner = owner
        self._weight = weight
        self._statement = lru_cache(SHAPES_MAX)(self._compiled)
        self._sharing: Sharing[None, Page] = Sharing()

    async def answer(self, request: Request, parameters: PageParameters, **fixed: object) -> Response:
        """The page that the request asks for; `fixed` are filters that its path sets.

        Raises Problem `invalid-cursor`, `not-found` (the owner), `projection-behind`, `unavailable`.
        """
        filters = {**parameters.filters, **fixed}
        viewer = caller_of(request).viewer
        if self._belongs_to is not None and not viewer.everyone:
            # Another user's list is answered as the list of a user who does not exist.
            user_id = str(filters.get(self._belongs_to) or viewer.user_id)
            filters[self._belongs_to] = user_id if viewer.sees(user_id) else NOBODYS_ID
        tied_to = tie(self._table.name, parameters.sort, filters)
        sort = self._sorts[parameters.sort.removeprefix("-")]
        start = None if parameters.cursor is None else place_of(parameters.cursor, sort, tied_to)
        page = await self._sync.answer(request, lambda: self._page(filters, parameters, start))
        if not page.known:
            raise absent(request.scope["path"].rpartition("/")[0], page.position, page.parked)
        state = PARKED if page.parked else {}
        cursor = None if page.last is None else cursor_of(page.last, tied_to)
        return page_response(request, b"".join((b"[", page.documents, b"]")), page.position, cursor, **state)

    async def _page(self, filters: Mapping[str, object], parameters: PageParameters, start: Place | None) -> Page:
        shape, values = self._shape(filters, parameters.sort, start)
        values["limit"] = parameters.limit

        async def read(_: object) -> Mapping[None, Page]:
            rows = await self._reads.rows(self._statement(shape), values)
            position, parked, known, documents, more, value, id_ = rows[0]
            last = Place(value, str(id_)) if more else None
            return {None: Page(position, parked, known, documents or b"", last)}

        # Equal requests, so there is one item.
        return await self._sharing.read((shape, *values.values()), None, read)

    def _shape(self, filters: Mapping[str, object], sort: str, start: Place | None) -> tuple[Shape, dict[str, object]]:
        values: dict[str, object] = {}
        shaping: list[tuple[str, object]] = []
        for name, value in filters.items():
            if isinstance(self._filters[name].condition, Mapping):
                shaping.append((name, value))
            else:
                shaping.append((name, None))
                values[name] = value
        if start is not None:
            values |= {"start": start.value, "start_id": start.id}
        return Shape(tuple(shaping), sort, start is not None), values

    def _compiled(self, shape: Shape) -> Statement:
        return compiled(self._select(shape), self._table.metadata, prepared=self._is_steady(shape))

    def _select(self, shape: Shape) -> sa.Select[*tuple[object, ...]]:
        page = self._page_of(self._rows(shape), shape).subquery("page")
        joined: list[Any] = [page]
        known: sa.ColumnElement[bool] = sa.true()
        parked = any_parked(self._table)
        if self._owner is not None:
            table, name = self._owner
            owner = sa.bindparam(name, type_=table.c.id.type)
            joined.insert(0, (table, table.c.id == owner))
            known = table.c.id.is_not(None)
            parked = sa.case((known, parked), else_=is_parked(table, owner))
        return (
            sa.select(checkpoint_of(self._table.metadata).c.position, parked, known, page)
            .select_from(beside_checkpoint(self._table.metadata, *joined))
            .where(is_current(self._table.metadata))
        )

    def _page_of(self, rows: sa.Select[*tuple[object, ...]], shape: Shape) -> sa.Select[*tuple[object, ...]]:
        # The page is put together here, as one text: fifty rows cost the client more than all else. The rows come in
        # order, and each knows whether another one follows.
        columns: list[sa.ColumnElement[Any]] = [
            sa.func.lead(sa.literal_column("true")).over(rows=_SO_FAR).label("more")
        ]
        most: sa.ColumnElement[int] = sa.literal_column(str(PAGE_WEIGHT_MAX))
        if self._weight is not None:
            # No row weighs more than a page may, so a page has at least one.
            weight = sa.func.least(rows.selected_columns[self._weight.key], most)
            columns.append(sa.func.sum(weight).over(rows=_SO_FAR).label("weight"))
        row = rows.add_columns(*columns).limit(sa.bindparam("limit", type_=sa.BigInteger)).subquery("row")
        page = sa.select(
            as_bytes(sa.func.string_agg(self._view(row), sa.literal_column("','"))).label("data"),
            _of_last(row.c.more).label("more"),
            _of_last(row.c[self._column(shape).key]).label("value"),
            _of_last(row.c.id).label("id"),
        )
        return page if self._weight is None else page.where(row.c.weight <= most)

    def _rows(self, shape: Shape) -> sa.Select[*tuple[object, ...]]:
        through = self._through(shape)
        if through is not None:
            return self._rows_through(shape, through)
        table, column = self._table, self._column(shape)
        sort = shape.sort.removeprefix("-")
        apart = [it for it in (self._filters[name] for name, _ in shape.filters) if it.apart and sort not in it.ordered]
        other = apart[0].through if len(apart) == 1 else None
        conditions = [self._condition(*it) for it in (self._beside(shape, other) if other else shape.filters)]
        conditions += _behind_start(shape, column, table.c.id)
        rows = sa.select(table).where(self._visible, *conditions)
        if other:
            rows = _found_by(other, shape, rows, table)
        elif apart:
            # PostgreSQL must find all of the rows before it sorts: OFFSET hides the index of the sort.
            rows = sa.select(rows.offset(sa.literal_column("0")).subquery("found"))
        # The inner limit is a number that the planner sees, so that it plans for a page and not for a tenth of the
        # table; the outer one is how many rows are really read.
        by = rows.selected_columns
        most = rows.order_by(*_order(shape, by[column.key], by.id)).limit(sa.literal_column(str(PAGE_LENGTH_MAX + 1)))
        return sa.select(most.subquery("most"))

    def _rows_through(self, shape: Shape, through: Through) -> sa.Select[*tuple[object, ...]]:
        conditions = _bounds(shape, through) + _behind_start(shape, through.column, through.id)
        others = [self._condition(name, value) for name, value in self._beside(shape, through)]
        page: sa.ColumnElement[int] = sa.literal_column(str(PAGE_LENGTH_MAX + 1))
        found = sa.select(through.column.label("value"), through.id.label("id")).distinct()
        if others:
            found = found.join(self._table, self._table.c.id == through.id).where(*others)
        found = found.where(through.condition, *conditions).order_by(*_order(shape, through.column, through.id))
        wanted = found.limit(page).subquery("wanted")
        rows = sa.select(self._table).join(wanted, self._table.c.id == wanted.c.id)
        return sa.select(rows.order_by(*_order(shape, wanted.c.value, wanted.c.id)).limit(page).subquery("most"))

    def _through(self, shape: Shape) -> Through | None:
        """The table that serves a filter of the shape in its order, if there is one."""
        sort = shape.sort.removeprefix("-")
        found = (self._filters[name].through for name, _ in shape.filters)
        return next((through for through in found if through is not None and through.sort == sort), None)

    def _beside(self, shape: Shape, through: Through) -> list[tuple[str, object]]:
        """The filters that the other table does not serve."""
        served = ranges(through.column)
        return [it for it in shape.filters if it[0] not in served and self._filters[it[0]].through is not through]

    def _column(self, shape: Shape) -> sa.Column[Any]:
        return self._sorts[shape.sort.removeprefix("-")].column

    def _condition(self, name: str, value: object) -> sa.ColumnElement[bool]:
        condition = self._filters[name].condition
        return condition[value] if isinstance(condition, Mapping) else condition

    def _is_steady(self, shape: Shape) -> bool:
        """Whether one plan is right for all values: all filters are one, in whose order an index finds the rows.

        PostgreSQL then plans once. Planned each time, a page of 25 orders takes 2.4 times PostgreSQL's CPU time.
        """
        if (through := self._through(shape)) is not None:
            return not self._beside(shape, through)
        columns = {name.partition("__")[0] for name, _ in shape.filters}
        sort = shape.sort.removeprefix("-")
        return len(columns) <= 1 and all(sort in self._filters[name].ordered for name, _ in shape.filters)


def _found_by(through: Through, shape: Shape, rows: sa.Select[Any], table: sa.Table) -> sa.Select[Any]:
    """Those of the rows that the other table finds, looked up by their ids before they are sorted.

    Else PostgreSQL might read the whole listed table.
    """
    found = sa.select(through.id.label("id")).where(through.condition, *_bounds(shape, through))
    ids = found.distinct().subquery("ids")
    row = rows.where(table.c.id == ids.c.id).offset(sa.literal_column("0")).lateral("found")
    return sa.select(row).select_from(ids.join(row, sa.true()))


def _bounds(shape: Shape, through: Through) -> list[Any]:
    """The ranges of the shape that the other table's column serves."""
    bounds = ranges(through.column)
    return [bounds[name].condition for name, _ in shape.filters if name in bounds]


def _order(shape: Shape, column: sa.ColumnElement[Any], id_: sa.ColumnElement[Any]) -> list[sa.ColumnElement[Any]]:
    return [column.desc(), id_.desc()] if shape.sort.startswith("-") else [column, id_]


def _behind_start(
    shape: Shape, column: sa.ColumnElement[Any], id_: sa.ColumnElement[Any]
) -> list[sa.ColumnElement[bool]]:
    """The condition of a page that begins behind another one; none for the first page."""
    if not shape.continued:
        return []
    key = sa.tuple_(column, id_)
    start = sa.tuple_(sa.bindparam("start", type_=column.type), sa.bindparam("start_id", type_=id_.type))
    return [key < start if shape.sort.startswith("-") else key > start]


def _of_last(value: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """The value in the last row that is aggregated."""
    return sa.func.array_agg(value, type_=ARRAY(value.type))[sa.func.count()]
