"""GET /events and a stream's events."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import psycopg
import pytest

from feed import routes
from query.database import Reads
from tests.query.answers import problem, walk
from tests.query.conftest import application, client_of

pytestmark = pytest.mark.anyio
ORDER, USER = "0197c1c2-7d8e-7000-8000-000000000001", "0197c1c2-7d8e-7000-8000-000000000002"

APPEND = """
WITH appended AS (
    INSERT INTO log.events (position, stream, version, type, schema_version, occurred_at, recorded_at, data, metadata)
    SELECT place, name, row_number() OVER (PARTITION BY name ORDER BY place), 'Happened', 1, now(), now(), '{}', '{}'
    FROM unnest(%s::text[]) WITH ORDINALITY AS these (name, place)
    RETURNING position
)
UPDATE log.head SET position = (SELECT max(position) FROM appended)
"""


class Log:
    """The log in the database, filled with one event for each name of a stream."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._streams: list[str] = []

    def append(self, *streams: str) -> None:
        self._streams = list(streams)
        with psycopg.connect(self._database_url) as connection:
            connection.execute(APPEND, (self._streams,))

    def events(self, stream: str | None) -> list[dict[str, Any]]:
        counted: dict[str, int] = {}
        found = []
        for position, name in enumerate(self._streams, 1):
            counted[name] = counted.get(name, 0) + 1
            found.append({"position": position, "stream": name, "version": counted[name]})
        return [event for event in found if stream in {None, event["stream"]}]


@pytest.fixture
def log(database_url: str) -> Log:
    return Log(database_url)


@pytest.fixture
async def api(log: Log, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with Reads(database_url) as reads, client_of(application(routes.router(reads))) as client:
        yield client


def brief(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: event[key] for key in ("position", "stream", "version")} for event in events]


async def test_the_whole_log_is_read_in_order_page_by_page(api: httpx.AsyncClient, log: Log) -> None:
    log.append(*[f"order-{ORDER}", f"user-{USER}"] * 5)
    assert brief(await walk(api, "/events?limit=3")) == log.events(None)
    answer = await api.get("/events?after=8&limit=1")
    assert brief(answer.json()["data"]) == log.events(None)[8:9]
    assert answer.json()["next"] == "9"
    assert answer.headers["link"] == '</events?after=9&limit=1>; rel="next"'
    assert answer.headers["sync-token"] == "10"
    assert (await api.get("/events?after=10")).json() == {"data": [], "next": None}
    assert (await api.get("/events?after=999999999999999999")).json() == {"data": [], "next": None}


async def test_a_page_of_the_log_has_100_events_unless_asked_otherwise(api: httpx.AsyncClient, log: Log) -> None:
    log.append(*[f"order-{ORDER}"] * 1001)
    assert len((await api.get("/events")).json()["data"]) == 100
    assert len((await api.get(f"/orders/{ORDER}/events")).json()["data"]) == 100
    assert len((await api.get("/events?limit=1000")).json()["data"]) == 1000


@pytest.mark.parametrize("kind", ["order", "user", "product"])
async def test_a_stream_is_read_by_version(api: httpx.AsyncClient, log: Log, kind: str) -> None:
    log.append("order-other", f"{kind}-{ORDER}", "order-other", f"{kind}-{ORDER}", f"{kind}-{ORDER}")
    url = f"/{kind}s/{ORDER}/events"
    assert [event["position"] for event in await walk(api, url)] == [2, 4, 5]
    assert [event["version"] for event in await walk(api, f"{url}?limit=1")] == [1, 2, 3]
    assert [event["version"] for event in await walk(api, f"{url}?after=2")] == [3]
    assert await walk(api, f"{url}?after=3") == []
    assert brief(await walk(api, f"/{kind}s/{ORDER.upper()}/events")) == log.events(f"{kind}-{ORDER}")


@pytest.mark.parametrize("kind", ["orders", "users", "products"])
async def test_an_unknown_stream_is_not_found(api: httpx.AsyncClient, log: Log, kind: str) -> None:
    log.append(f"order-{USER}", f"user-{USER}", f"product-{USER}")
    for id_ in (ORDER, "x", "%00"):
        answer = await api.get(f"/{kind}/{id_}/events")
        assert problem(answer) == (404, "not-found")
        assert ("sync-token" in answer.headers) == (id_ == ORDER)  # for the others nothing was read


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "after=-1", "after=x", "after=", "limit=1&limit=1"])
async def test_wrong_parameters_are_refused(api: httpx.AsyncClient, query: str) -> None:
    assert problem(await api.get(f"/events?{query}")) == (400, "invalid-parameter")
    assert problem(await api.get(f"/orders/{ORDER}/events?{query}")) == (400, "invalid-parameter")
    assert problem(await api.get("/events?type=OrderPlaced")) == (400, "unknown-parameter")


async def test_head_is_answered_without_the_body(api: httpx.AsyncClient, log: Log) -> None:
    log.append(f"order-{ORDER}")
    for url in ("/events", f"/orders/{ORDER}/events"):
        shown, head = await api.get(url), await api.head(url)
        assert (head.status_code, head.content, set(head.headers)) == (200, b"", set(shown.headers))


async def test_a_reader_with_a_token_waits_for_a_log_that_is_behind(api: httpx.AsyncClient, log: Log) -> None:
    log.append(f"order-{ORDER}")
    assert (await api.get("/events", headers={"Sync-Token": "1"})).status_code == 200
    answer = await api.get("/events", headers={"Sync-Token": "2", "Prefer": "wait=0"})
    assert problem(answer) == (503, "projection-behind")
