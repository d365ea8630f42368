"""Sessions of PostgreSQL that hold locks for which the service waits."""

import re
from typing import NamedTuple

from service.projections import PROJECTIONS

# log.head and a projection's checkpoint are one row each: a session that has locked the row, even without changing it,
# keeps writers or projectors out. Of other tables only locks that keep out changes of rows count. VACUUM and ANALYZE
# take neither. A session that waits for a lock itself is not to blame.
_HOLDERS = """
WITH held AS (
    SELECT lock.pid, schema.nspname || '.' || class.relname AS name
    FROM pg_locks AS lock
    JOIN pg_class AS class ON class.oid = lock.relation
    JOIN pg_namespace AS schema ON schema.oid = class.relnamespace
    WHERE lock.granted AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND schema.nspname IN ({schemas}) AND class.relkind = 'r'
        AND (lock.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
            OR (class.relname IN ('head', 'checkpoint') AND lock.mode IN ('RowShareLock', 'RowExclusiveLock')))
    UNION
    SELECT blocker, 'the lock that '
        || coalesce(nullif(waiting.application_name, ''), 'process ' || waiting.pid::text) || ' waits for'
    FROM pg_stat_activity AS waiting, unnest(pg_blocking_pids(waiting.pid)) AS blocker
    WHERE waiting.wait_event_type = 'Lock' AND waiting.datname = current_database()
)
SELECT session.pid, session.application_name, session.state, session.query, string_agg(DISTINCT held.name, ', '),
    floor(extract(epoch FROM clock_timestamp() - session.xact_start))::integer
FROM held JOIN pg_stat_activity AS session USING (pid)
WHERE session.pid <> pg_backend_pid() AND session.wait_event_type IS DISTINCT FROM 'Lock'
    AND session.xact_start < clock_timestamp() - make_interval(secs => %(seconds)s::float8)
GROUP BY session.pid, session.application_name, session.state, session.query, session.xact_start
ORDER BY session.xact_start
"""
_OURS = ("access", "log", "mirrors", "operations", *(projection.name for projection in PROJECTIONS))
_SCHEMAS = ", ".join(f"'{name}'" for name in _OURS)
HOLDERS = _HOLDERS.replace("{schemas}", _SCHEMAS).encode()

# Batches hold the head and the checkpoint for milliseconds. A session that holds it for this long may be the reason.
HELD_SECONDS_MIN = 2
QUERY_LENGTH_MAX = 80

_LITERAL = re.compile(r"'(?:[^']|'')*'?")


class Holder(NamedTuple):
    """A session, what it holds, and how long its transaction has been open, in seconds."""

    pid: int
    application: str
    state: str
    query: str
    holds: str
    seconds: int

    def __str__(self) -> str:
        return f"{session(self.pid, self.application, self.state, self.seconds, self.query)} holds {self.holds}"


def session(pid: int, application: str, state: str, seconds: int, query: str) -> str:
    """A session in words; without the literals of its query, which may tell of people."""
    words = " ".join(_LITERAL.sub("'...'", query).split())
    short = words if len(words) <= QUERY_LENGTH_MAX else words[: QUERY_LENGTH_MAX - 3] + "..."
    return f"PostgreSQL process {pid} ({application or 'unnamed'}, {state} for {seconds} s: {short})"
