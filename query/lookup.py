"""Reading one resource by its id; look-ups that arrive while one is in flight are joined into one query."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from contract.callers import NOBODYS_ID, Viewer
from query.database import Reads, Statement
from query.parked import kind_of, parked_among
from query.sharing import Sharing
from query.statements import beside_checkpoint, compiled, digest_of, is_current
from query.views import JsonText, as_bytes
from readmodel.base import checkpoint_of

# The id of a resource, and the user for whom it is asked; None: for everyone.
Asked = tuple[str, str | None]


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


class Lookup:
    """Looks resources of one kind up. `owner` is the column of the user to whom one belongs; None: to everybody."""

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
        self._sharing: Sharing[Asked, Found] = Sharing()

    async def find(self, id_: str, viewer: Viewer) -> Found:
        """The resource with this id (a UUID in lower case), read after the call. Raises Problem `unavailable`.

        A resource that the viewer may not see is answered as missing. Callers share a query, so the owner is checked
        for each caller after it.
        """
        asks_for_all = viewer.everyone or not self._is_owned
        found = await self._sharing.read(
            None, (id_, None if asks_for_all else viewer.user_id or NOBODYS_ID), self._read
        )
        if self._is_owned and not viewer.sees(found.owner):
            return Found(found.position, "", False, None)
        return found

    async def _read(self, asked: Sequence[Asked]) -> Mapping[Asked, Found]:
        ids, users = {id_ for id_, _ in asked}, {user for _, user in asked}
        owners = None if None in users else ",".join(filter(None, users))
        rows = await self._reads.rows(self._statement, {"ids": "{" + ",".join(ids) + "}", "owners": owners})
        position, generation, parked, *_ = rows[0]
        build = f"{generation}{self._shape}"
        parked = {stream.removeprefix(f"{self.kind}-") for stream in parked} if parked else ()
        found = {id_: Found(position, "", False, None, id_ in parked) for id_ in ids}
        for *_, id_, version, gone, body, owner in rows:
            if id_ is not None:  # the LEFT JOIN's own row, when none was found
                found[id_] = Found(position, f"{version}.{build}", gone, body, id_ in parked, owner)
        return {it: found[it[0]] for it in asked}


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
