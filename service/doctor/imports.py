"""A check for imports that stopped before their end and were not run again."""

from collections.abc import Iterator

from psycopg import Connection

from service.doctor.finding import Check, Finding

DAYS = 7
# An import writes down every two seconds how far it is. A time in the future: the clock was set back since.
STALLED_SECONDS = 30

_UNFINISHED = """
SELECT path, error, accepted + already_there, coalesce(finished_at, progressed_at) FROM operations.imports AS run
WHERE started_at > clock_timestamp() - make_interval(days => %(days)s)
    AND (error IS NOT NULL OR (finished_at IS NULL
        AND abs(extract(epoch FROM clock_timestamp() - progressed_at)) > %(seconds)s))
    AND NOT EXISTS (SELECT FROM operations.imports AS later WHERE later.path = run.path AND later.id > run.id)
ORDER BY id
"""


def _imports(connection: Connection) -> Iterator[Finding]:
    for path, error, rows, at in connection.execute(_UNFINISHED, {"days": DAYS, "seconds": STALLED_SECONDS}):
        public = f"the import of {path} stopped after {rows:,} rows" if error else None
        if error:
            what, remedy = f"stopped after {rows:,} rows: {error}", "mend that"
        else:
            what = f"has not ended, and does no rows any more; {rows:,} are done"
            remedy = "if its process waits, end what `orders status` shows as in the way; if it is gone"
        again = f"{remedy}, run the same command again: nothing comes twice"
        yield Finding(f"the import of {path} {what}", again, at, public)


CHECKS = (Check("imports", _imports, "the rest of the file is not in the shop"),)
