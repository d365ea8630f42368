"""Every schema, table, view and column of ours has a comment, which psql (`\\d+`) and BI tools show."""

import psycopg
import pytest

from projector.replay import replay
from service.projections import PROJECTIONS

COMMENTS = """
WITH ours AS (
    SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')
), relations AS (
    SELECT class.oid, nspname || '.' || relname AS name FROM pg_class AS class JOIN ours ON ours.oid = relnamespace
    WHERE relkind IN ('r', 'v', 'm', 'p', 'f')
)
SELECT nspname, obj_description(oid, 'pg_namespace') FROM ours
UNION ALL SELECT name, obj_description(oid, 'pg_class') FROM relations
UNION ALL SELECT name || '.' || attname, col_description(oid, attnum) FROM relations
    JOIN pg_attribute ON attrelid = oid AND attnum > 0 AND NOT attisdropped
"""


def said(database_url: str) -> dict[str, str | None]:
    """The comment of each schema, table, view and column, by name."""
    with psycopg.connect(database_url) as connection:
        return dict(connection.execute(COMMENTS.encode()).fetchall())


@pytest.mark.parametrize("is_rebuilt", [False, True], ids=["migrated", "rebuilt"])
def test_no_comment_is_missing(database_url: str, is_rebuilt: bool) -> None:
    before = said(database_url)
    for projection in PROJECTIONS if is_rebuilt else ():
        replay(database_url, projection, lambda _: None)
    comments = said(database_url)
    assert [name for name, comment in comments.items() if not comment] == []
    assert comments == before
    assert {"log", "log.events", "log.events.data", "access.api_keys.role", "operations.jobs.state"} < comments.keys()
    assert {"shop.orders.total", "reports.order_lines.sku", "mirrors.standings.error"} < comments.keys()
