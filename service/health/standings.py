"""Where projections and mirrors are, read on the API's connections, and the answer of GET /projections."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from contract.problems import Problem
from contract.times import rfc3339
from projector.mirror.standings import LISTED, of_rows
from projector.projection import Projection
from projector.status import Building, Standing, built_statement, standing_statement
from query.database import Reads, Statement
from service.projections import PROJECTIONS

_SECONDS = re.compile(r"\b\d+ s\b")


async def standings_of(reads: Reads) -> list[Standing]:
    """Where each projection is. Raises Problem `unavailable`, also when its tables are missing."""
    standings = []
    for projection in PROJECTIONS:
        _, *row = await reads.row(Statement(standing_statement(projection)), {})
        standing = Standing(projection, *row)
        if standing.building:
            standing = standing._replace(built=await _built(reads, projection))
        standings.append(standing)
    return standings


async def mirrors_of(reads: Reads) -> list[Standing]:
    """Where each mirror is. Raises Problem `unavailable`."""
    return of_rows(await reads.rows(Statement(LISTED), {}), PROJECTIONS)


def shared(troubles: Iterable[tuple[str, str | None]]) -> list[tuple[list[str], str]]:
    """Each trouble once, with the names of the projections that have it."""
    found: dict[str, tuple[list[str], str]] = {}
    for name, trouble in troubles:
        if trouble:
            # One worker drives several projections, and has looked at one of them a second later.
            names, _ = found.setdefault(_SECONDS.sub("", trouble), ([], trouble))
            names.append(name)
    return list(found.values())


def stopped(mirrors: Sequence[Standing]) -> Iterator[list[Standing]]:
    """The mirrors that stopped: those in one database, for one reason, together."""

    def cause(it: Standing) -> tuple[str, str]:
        return it.mirror or "", it.error or ""

    for _, some in groupby(sorted((it for it in mirrors if it.state == "stopped"), key=cause), cause):
        yield list(some)


def what_stopped(some: Sequence[Standing], *, is_public: bool = False) -> str:
    """A sentence about mirrors that `stopped` has grouped. `is_public`: without errors that may quote a person."""
    last = max(some, key=lambda it: it.seen_at)
    names = ", ".join(it.name for it in some)
    reason = last.public_trouble if is_public else last.trouble
    return f"the mirror of {names} in {last.mirror} has stopped: {reason or 'it left no reason'}"


def view(standing: Standing) -> dict[str, object]:
    return {
        "name": standing.name,
        "mirror": standing.mirror,
        "version": standing.version,
        "position": standing.position,
        "head": standing.head,
        "lag_events": standing.lag_events,
        "lag_ms": standing.lag_ms,
        "state": standing.state,
        "parked": standing.parked,
        "progress": standing.progress,
        "updated_at": rfc3339(standing.updated_at),
    }


async def _built(reads: Reads, projection: Projection) -> Building | None:
    try:
        rows = await reads.rows(Statement(built_statement(projection), prepared=False), {})
    except Problem:
        return None  # the rebuild was over just now
    return Building(*rows[0]) if rows else None
