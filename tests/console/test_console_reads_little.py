"""No page scans the log, by PostgreSQL's own count of the scans of log.events; and no page lists without end."""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from starlette.responses import HTMLResponse

from console.rendering import Renderer
from service.settings import Settings
from tests.console.shop import hostile_shop, paths
from tests.served import NO_REDIS, served_with

EVENTS = 30_000
MANY = 300
PAGE_BYTES_MAX = 60_000

_REGISTERED = """
INSERT INTO log.events
SELECT i, 'user-' || gen_random_uuid(), 1, 'UserRegistered', 1, now() - interval '1 year' + i * interval '1 min',
    now() - interval '1 year' + i * interval '1 min',
    json_build_object('name', 'User ' || i, 'email', i || '@example.org', 'email_key', i || '@example.org',
        'external_id', null), json_build_object('command_id', gen_random_uuid())
FROM generate_series(1, %s) AS i
"""
_PARKED = """
INSERT INTO shop.parked (stream, position, version, type, error, skipped, parked_at)
SELECT stream, position, 1, type, 'no address: ' || translate(position::text, '0123456789', 'abcdefghij'), false, now()
FROM log.events
"""
_KILLED = """
INSERT INTO operations.imports (id, path, bytes_total, progressed_at)
SELECT uuidv7(), '/srv/shop/' || n || '.jsonl', 1, now() - interval '1 hour' FROM generate_series(1, %s) AS n
"""
_ENDED = """
INSERT INTO operations.imports (id, path, bytes_total, finished_at)
SELECT uuidv7(), '/srv/shop.jsonl', 1, now() FROM generate_series(1, %(many)s);
INSERT INTO operations.jobs (id, kind, projection, asked_by, state, result)
SELECT uuidv7(), 'verify', 'shop', 'Ann', 'done', '{"said":"well","is_well":true}' FROM generate_series(1, %(many)s)
"""
_BY_KEY = "SELECT indexrelname, idx_scan FROM pg_stat_user_indexes WHERE indexrelname IN ('imports_pkey', 'jobs_pkey')"
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


def with_console(url: str) -> Settings:
    return Settings(database_url=url, redis_url=NO_REDIS, allow_unsafe_database=True, console=True, no_auth=True)


@pytest.fixture
def troubled_url(database_url: str) -> str:
    """Of a database with many parked streams, each with an error of its own, and many imports that were killed."""
    with psycopg.connect(database_url) as connection:
        connection.execute(_REGISTERED, [MANY])
        connection.execute(_PARKED)
        connection.execute("UPDATE shop.checkpoint SET parked = %s", [MANY])
        connection.execute(_KILLED, [MANY])
    return database_url


def test_the_newest_jobs_and_imports_are_found_by_key(database_url: str) -> None:
    with psycopg.connect(database_url, cursor_factory=psycopg.ClientCursor) as connection:
        connection.execute(_ENDED, {"many": 10 * MANY})
        connection.execute("ANALYZE operations.imports, operations.jobs")
        before = dict(connection.execute(_BY_KEY).fetchall())
    with served_with(with_console(database_url)) as shop:
        for page in ("imports", "jobs"):
            assert shop.get(f"/console/{page}").status_code == 200
    with psycopg.connect(database_url) as connection:
        after = dict(connection.execute(_BY_KEY).fetchall())
    assert all(after[name] > before[name] for name in ("imports_pkey", "jobs_pkey"))


def test_pages_stay_small_however_much_there_is_to_mend(troubled_url: str) -> None:
    with served_with(with_console(troubled_url)) as shop:
        texts = {path: shop.get(f"/console/{path}").text for path in ("", "doctor", "imports")}
        assert max(map(len, texts.values())) < PAGE_BYTES_MAX
        assert f"{MANY - 20} more groups of parked streams" in texts[""]
        assert "there are more of the same kind" in texts[""].lower()
        assert f"{MANY - 20} more groups: <code>orders parked" in shop.get("/console/parked").text


def scans(database_url: str) -> int:
    """How often log.events was read from its first row to its last. Sessions report that when they end."""
    with psycopg.connect(database_url) as connection:
        row = connection.execute(_SCANS).fetchone()
    assert row is not None
    return int(row[0])


def test_pages_are_rendered_one_at_a_time(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rendering is work for a processor alone: several threads of it would keep commands waiting."""
    page, under_way, most = Renderer.page, [0], [0]

    def slow(renderer: Renderer, *given: Any, **values: Any) -> HTMLResponse:
        under_way[0] += 1
        most[0] = max(most[0], under_way[0])
        time.sleep(0.05)  # as the page of a large order takes
        under_way[0] -= 1
        return page(renderer, *given, **values)

    monkeypatch.setattr(Renderer, "page", slow)
    with served_with(with_console(database_url)) as shop, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: shop.get("/console/jobs").status_code, range(24)))
    assert answers == [200] * 24
    assert most == [1]
