"""Whether the service can do its work: what /readyz answers, measured against the log's head."""

from datetime import timedelta

import psycopg

from contract.problems import Problem
from query.database import Reads
from query.projections import Projection, projections_of
from service.log_reader import LogReader

# A projector looks at the log every second, and leaves word of it.
SILENT_AFTER = timedelta(seconds=5)


async def not_ready(reads: Reads, log: LogReader) -> dict[str, str]:
    """What is not ready, each with the reason; empty when all is."""
    try:
        projections = await projections_of(reads)
    except Problem as problem:
        return {"database": problem.detail}
    except psycopg.errors.UndefinedTable:
        return {"database": "its tables are missing; run `orders migrate`"}
    reasons = [reason for it in projections if (reason := await _trouble(it, log))]
    return {"projector": "; ".join(reasons)} if reasons else {}


async def _trouble(projection: Projection, log: LogReader) -> str | None:
    # All times are the database's: the clocks of several machines are never quite the same.
    silence = projection.now - projection.seen_at
    if silence > SILENT_AFTER:
        last = projection.worker or "none"
        return f"no worker has looked at the log for {silence.total_seconds():.0f} s; the last was {last}"
    if projection.error:
        return projection.error
    head = await log.head(projection.position)
    if head.waiting_since is not None and projection.now - head.waiting_since > SILENT_AFTER:
        return f"{head.position - projection.position} events behind the log's head"
    return None
