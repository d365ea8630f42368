"""Reading one resource by its id; look-ups that arrive while one is in flight are joined into one query."""

import asyncio
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from contract.callers import NOBODYS_ID, Viewer
from query.database import Reads, Statement
from query.parked import kind_of, parked_among
from query.statements import beside_checkpoint, compiled, digest_of, is_current
from query.views import JsonText, as_bytes
from readmodel.base import checkpoint_of

# Bounds how long one query takes; at 64 open connections the average is far below.
IDS_A_QUERY_MAX = 256


class Found(NamedTuple):
    """A resource as of `position`. `body` is None when there is no such resource; `gone` when it was deleted.

    `tag` is the entity tag of the body, without quotes: the version, a point, and what else the bytes depend on (which
    build of the tables they come from, and how this release writes them). `parked`: later events of it, or all, are
    held back.
    """

    position: int
    tag: str
    gone: bool
    body: bytes | None
    parked: bool = False
    owner: str | None = None


class _Asked(NamedTuple):
    """An id that waits for a query, and for which users it is asked; None among them: for everyone."""

    future: asyncio.Future[Found]
    users: set[str | None]


class Lookup:
    """Looks resources of one kind up. `owner` is the column of the user to whom one belongs; None: to everybody.

    Alone a look-up goes at once; what arrives meanwhile goes together, next.
    """

    def __init__(
        self,
        reads: Reads,
        table: sa.Table,
        view: JsonText,
        gone: sa.ColumnElement[bool] | None = None,
        owner: sa.Column[Any] | None = None,
    ) -> None:
        self._reads = reads
        self._statement = _statement(table, view, gone, owner)
        self._shape = digest_of(view, table.metadata)
        self._is_owned = owner is not None
        self.kind = kind_of(table)
        self._waiting: dict[str, _Asked] = {}
        self._flight: asyncio.Task[None] | None = None

    async def find(self, id_: str, viewer: Viewer) -> Found:
        """The resource with this id (a UUID in lower case), read after the call. Raises Problem `unavailable`.

        A resource that the viewer may not see is answered as missing. Callers share a query, so the owner is checked
        for each caller after it.
        """
        asked = self._waiting.get(id_)
        if asked is None:
            asked = self._waiting[id_] = _Asked(asyncio.get_running_loop().create_future(), set())
            if self._flight is None:
                self._flight = asyncio.create_task(self._fly())
        asked.users.add(None if viewer.everyone else viewer.user_id or NOBODYS_ID)
        # A caller that hangs up must not cancel the query for the others who asked for the same id.
        found = await asyncio.shield(asked.future)
        if self._is_owned and not viewer.sees(found.owner):
            return Found(found.position, "", False, None)
        return found

    async def _fly(self) -> None:
        try:
            while self._waiting:
                # Only what has not been sent may be joined: an answer must not be older than its question.
                ids = list(self._waiting)[:IDS_A_QUERY_MAX]
                await self._answer({id_: self._waiting.pop(id_) for id_ in ids})
        finally:
            self._flight = None

    async def _answer(self, asked: dict[str, _Asked]) -> None:
        users = set().union(*(it.users for it in asked.values()))
        owners = None if None in users else ",".join(filter(None, users))
        try:
            rows = await self._reads.rows(self._statement, {"ids": "{" + ",".join(asked) + "}", "owners": owners})
        except Exception as error:  # noqa: BLE001 - it is everybody's who asked, and the next flight must go
            # Look-ups that wait for the next flight fail too. They have waited as long, and would wait as long again.
            for future, _ in (*asked.values(), *self._waiting.values()):
                future.set_exception(error)
            self._waiting.clear()
            return
        position, generation, parked, *_ = rows[0]
        build = f"{generation}{self._shape}"
        parked = {stream.removeprefix(f"{self.kind}-") for stream in parked} if parked else ()
        for *_, id_, version, gone, body, owner in rows:
            if id_ is not None:  # the LEFT JOIN's own row, when none was found
                found = Found(position, f"{version}.{build}", gone, body, id_ in parked, owner)
                asked.pop(id_).future.set_result(found)
        for id_, (future, _) in asked.items():
            future.set_result(Found(position, "", False, None, id_ in parked))


def _statement(
    table: sa.Table, view: JsonText, gone: sa.ColumnElement[bool] | None, owner: sa.Column[Any] | None
) -> Statement:
    # The ids go as one text, which PostgreSQL takes apart; that spares an object for every id. In a subquery, because a
    # planner that sees a single id finds a plan made for it a little cheaper than the kept one, and plans every time.
    wanted = sa.cast(sa.select(sa.bindparam("ids", type_=sa.Text)).scalar_subquery(), ARRAY(sa.Uuid))
    body = as_bytes(view)
    if owner is not None:
        # Only for an owner who asks. Else the time of a 404 would tell a stranger that a long order exists.
        owners = sa.select(sa.bindparam("owners", type_=sa.Text)).scalar_subquery()
        body = sa.case(
            (owners.is_(None) | (sa.func.strpos(owners, sa.cast(owner, sa.Text)) > sa.literal_column("0")), body)
        )
    columns = (
        checkpoint_of(table.metadata).c.position,
        checkpoint_of(table.metadata).c.generation,
        parked_among(table, wanted),
        sa.cast(table.c.id, sa.Text),
        table.c.version,
        (sa.false() if gone is None else gone).label("gone"),
        body.label("body"),
        (sa.null() if owner is None else sa.cast(owner, sa.Text)).label("owner"),
    )
    return compiled(
        sa.select(*columns)
        .select_from(beside_checkpoint(table.metadata, (table, table.c.id == sa.any_(wanted))))
        .where(is_current(table.metadata)),
        table.metadata,
    )
