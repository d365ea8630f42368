"""No page scans the log: PostgreSQL's own count of the scans of log.events, over every page of a longer log."""

import psycopg

from tests.console.shop import hostile_shop, paths

EVENTS = 30_000

_REGISTERED = """
INSERT INTO log.events
SELECT i, 'user-' || gen_random_uuid(), 1, 'UserRegistered', 1, now() - interval '1 year' + i * interval '1 min',
    now() - interval '1 year' + i * interval '1 min',
    json_build_object('name', 'User ' || i, 'email', i || '@example.org', 'email_key', i || '@example.org',
        'external_id', null), json_build_object('command_id', gen_random_uuid())
FROM generate_series(1, %s) AS i
"""
_SCANS = "SELECT seq_scan FROM pg_stat_user_tables WHERE relid = 'log.events'::regclass"


def test_no_page_scans_the_log(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(_REGISTERED, [EVENTS])
        connection.execute("UPDATE log.head SET position = %s", [EVENTS])
        connection.execute("ANALYZE log.events")
    with hostile_shop(database_url) as made:
        before = scans(database_url)  # the projections have read the log by now; one page of `sales` may be all of it
        more = ["/events?type=UserDeleted", "/events?type=NoSuchType", "/events?from=2001-01-01&to=2001-01-02"]
        for path in [*paths(made), *more]:
            assert made.shop.get(f"/console{path}").status_code in {200, 400, 404}
    assert scans(database_url) == before


def scans(database_url: str) -> int:
    """How often log.events was read from its first row to its last. Sessions report that when they end."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute(_SCANS).fetchone()
    assert row is not None
    return int(row[0])
