"""Pages of large events end early, and `next` leads through all of them."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from eventlog.pages import LOG_PAGE, PAGE_BYTES_MAX, STREAM_PAGE
from eventlog.walk import walk
from tests.served import Shop, served

EVENTS = 30
EVENT_BYTES = 500_000
STREAM = "order-0197c1c2-7d8e-7000-8000-000000000001"


@pytest.fixture(scope="module")
def shop(module_database_url: str) -> Iterator[Shop]:
    with psycopg.connect(module_database_url) as connection:
        connection.execute(
            "INSERT INTO log.events (position, stream, version, type, schema_version, occurred_at, recorded_at, data, "
            "metadata) SELECT n, %s, n, 'Large', 1, now(), now(), "
            "json_build_object('text', repeat('x', CASE WHEN n = 12 THEN 3 ELSE 1 END * %s)), '{}' "
            "FROM generate_series(1, %s) AS n",
            (STREAM, EVENT_BYTES, EVENTS),
        )
        connection.execute("UPDATE log.head SET position = %s", (EVENTS,))
    with served(module_database_url) as shop:
        yield shop


@pytest.mark.parametrize("path", ["/events", f"/orders/{STREAM.removeprefix('order-')}/events"])
def test_a_page_of_events_is_bounded_in_bytes_and_none_is_left_out(shop: Shop, path: str) -> None:
    positions: list[int] = []
    after: str | None = "0"
    while after is not None:
        answer = shop.get(path, params={"limit": 1000, "after": after})
        assert answer.status_code == 200, answer.text
        assert len(answer.content) < PAGE_BYTES_MAX + 4 * EVENT_BYTES
        assert answer.json()["data"]
        positions += [event["position"] for event in answer.json()["data"]]
        after = answer.json()["next"]
    assert positions == list(range(1, EVENTS + 1))


def test_an_event_that_is_larger_than_a_page_is_a_page(shop: Shop) -> None:
    with psycopg.connect(shop.database_url) as connection:
        connection.execute(
            "INSERT INTO log.events (position, stream, version, type, schema_version, occurred_at, recorded_at, data, "
            "metadata) SELECT %(n)s, 'order-large', 1, 'Large', 1, now(), now(), "
            "json_build_object('text', repeat('x', %(bytes)s)), '{}'",
            {"n": EVENTS + 1, "bytes": PAGE_BYTES_MAX + 1},
        )
        connection.execute("UPDATE log.head SET position = %s", (EVENTS + 1,))
    found = shop.get("/events", params={"after": EVENTS}).json()
    assert ([event["position"] for event in found["data"]], found["next"]) == ([EVENTS + 1], None)


@pytest.mark.parametrize("limit", [None, 12, 25])
def test_a_walk_passes_over_no_large_event(shop: Shop, limit: int | None) -> None:
    with psycopg.connect(shop.database_url) as connection:
        assert len(list(walk(connection, STREAM, 0, limit))) == (limit or EVENTS)


@pytest.mark.parametrize("page", [LOG_PAGE, STREAM_PAGE])
def test_a_page_does_not_read_all_events_that_it_might_have(database_url: str, page: bytes) -> None:
    """A thousand of the largest orders are 400 MB, which take longer to read than a select may take."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO log.events (position, stream, version, type, schema_version, occurred_at, recorded_at, data, "
            "metadata) SELECT n, %s, n, 'Large', 1, now(), now(), json_build_object('text', ("
            "SELECT string_agg(md5(n || '-' || part), '') FROM generate_series(1, 3200) AS part)), '{}' "
            "FROM generate_series(1, 400) AS n",
            (STREAM,),
        )
        connection.execute("UPDATE log.head SET position = 400")
        explained: Any = connection.execute(
            b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + page, {"after": 0, "limit": 1000, "stream": STREAM}
        ).fetchone()
    plan = explained[0][0]["Plan"]
    assert (plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]) * 8192 < 3 * PAGE_BYTES_MAX
