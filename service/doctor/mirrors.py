"""A check for what an operator must mend: mirrors that should follow the log, and do not."""

from collections.abc import Iterator

from psycopg import Connection

from projector.mirror.standings import standings
from service.doctor.finding import Check, Finding
from service.projections import PROJECTIONS


def _mirrors(connection: Connection) -> Iterator[Finding]:
    for it in standings(connection, PROJECTIONS):
        where = f"the mirror of {it.name} in {it.mirror}"
        if it.state == "stopped":
            yield Finding(
                f"{where} has stopped: {it.trouble or 'it left no reason'}",
                "orders mirror URL starts it again; orders mirror URL --forget, if nobody needs it",
                it.seen_at,
            )
        if it.parked:
            yield Finding(f"{where} holds {it.parked} streams back", f"the table parked of {it.name} there says why")


CHECKS = (Check("mirrors", _mirrors, "whoever reads the mirror sees old rows"),)
