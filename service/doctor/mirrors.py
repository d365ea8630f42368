"""A check for what an operator must mend: mirrors that should follow the log, and do not."""

import shlex
from collections.abc import Iterator, Sequence

from psycopg import Connection

from console.words import counted
from projector.mirror.standings import standings
from projector.status import Standing
from service.doctor.finding import Check, Finding
from service.health.standings import stopped, what_stopped
from service.projections import PROJECTIONS


def _mirrors(connection: Connection) -> Iterator[Finding]:
    mirrors = standings(connection, PROJECTIONS)
    for some in stopped(mirrors):
        last = max(it.seen_at for it in some)
        yield Finding(what_stopped(some), _restart(some), last, what_stopped(some, is_public=True))
    for it in mirrors:
        if it.parked:
            yield Finding(
                f"the mirror of {it.name} in {it.mirror} holds {counted(it.parked, 'stream')} back",
                f"the table parked of {it.name} there says why",
            )


def _restart(some: Sequence[Standing]) -> str:
    """The commands for the mirrors of one database. The list has no passwords."""
    url = some[0].mirror or ""
    names = "".join(f" -p {it.name}" for it in some) if len(some) < len(PROJECTIONS) else ""
    command = f"orders mirror {shlex.quote(url)}{names}"
    password = "" if url.startswith("sqlite:") else ", with its password in the URL"
    return f"start it again: `{command}`{password}; if it is no longer needed: `{command} --forget`"


CHECKS = (Check("mirrors", _mirrors, "reports that read the mirror show old rows"),)
