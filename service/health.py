"""Whether the service can do its work: what /readyz answers, measured against the log's head."""

from datetime import timedelta

import psycopg

from contract.problems import Problem
from query.database import Reads, Statement
from service.log_reader import LogReader

# A projector looks at the log every second, and leaves word of it.
SILENT_AFTER = timedelta(seconds=5)

_CHECKPOINT = Statement(
    b"SELECT position, seen_at, worker, error, clock_timestamp() FROM read.checkpoint WHERE name = 'read_tables'"
)


async def not_ready(reads: Reads, log: LogReader) -> dict[str, str]:
    """What is not ready, each with the reason; empty when all is."""
    try:
        ((position, seen_at, worker, error, now),) = await reads.rows(_CHECKPOINT, {})
    except Problem as problem:
        return {"database": problem.detail}
    except psycopg.errors.UndefinedTable:
        return {"database": "its tables are missing; run `orders migrate`"}
    # All times are the database's: the clocks of several machines are never quite the same.
    if now - seen_at > SILENT_AFTER:
        silence = (now - seen_at).total_seconds()
        return {"projector": f"no worker has looked at the log for {silence:.0f} s; the last was {worker or 'none'}"}
    if error:
        return {"projector": error}
    head = await log.head(position)
    if head.waiting_since is not None and now - head.waiting_since > SILENT_AFTER:
        return {"projector": f"{head.position - position} events behind the log's head"}
    return {}
