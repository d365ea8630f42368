"""The console on a sick service: causes stand before what follows from them, and a remedy fits what runs."""

import re

import psycopg

from projector.bell import Listener
from projector.connecting import connect
from projector.loop import Loop
from projector.parked import skip
from projector.projections.shop import SHOP
from service.settings import Settings
from tests.builders import append_parked_user, wait_until
from tests.projecting import sweep
from tests.served import NO_REDIS, Shop, served_with

SOON = 10
PROJECTOR = "no worker has looked at the log for"


def settings(database_url: str, redis_url: str) -> Settings:
    return Settings(
        database_url=database_url, redis_url=redis_url, no_auth=True, allow_unsafe_database=True, console=True
    )


def silence(database_url: str, *projections: str) -> None:
    with psycopg.connect(database_url) as connection:
        for name in projections:
            connection.execute(f"UPDATE {name}.checkpoint SET seen_at = now() - interval '1 min'".encode())


def page(shop: Shop) -> str:
    """The page of the doctor as a person reads it."""
    return " ".join(re.sub("<[^>]+>", " ", shop.get("/console/doctor").text).split())


def test_a_dead_worker_is_one_finding_whose_remedy_is_a_worker(database_url: str, redis_url: str) -> None:
    sweep(database_url)
    silence(database_url, "shop", "sales", "activity")
    with served_with(settings(database_url, redis_url)) as shop:
        wait_until(lambda: "bell" in shop.get("/readyz").json()["degraded"], SOON, "the API knows that nobody listens")
        told = page(shop)
    assert PROJECTOR in told
    assert "Do start a worker: orders work" in told
    assert "listens to Redis" not in told
    assert "only once a second" not in told


def test_a_worker_that_runs_is_not_to_be_started_and_its_cause_stands_first(database_url: str, redis_url: str) -> None:
    """As on a full disk: a projection cannot even write that its worker has looked."""
    sweep(database_url)
    silence(database_url, "activity")
    listener = Listener(redis_url)
    listener.heard(0.1)
    try:
        with served_with(settings(database_url, redis_url)) as shop:
            told = page(shop)
    finally:
        listener.close()
    assert "start a worker" not in told
    assert "mend the other findings on this page first" in told
    # The server of the tests is not durable.
    assert told.index("Fsync is off") < told.index(PROJECTOR)


def test_a_redis_that_is_gone_is_to_be_mended_and_no_worker_started(database_url: str) -> None:
    with served_with(settings(database_url, NO_REDIS)) as shop:
        sweep(database_url)
        wait_until(lambda: "bell" in shop.get("/readyz").json()["degraded"], SOON, "a Redis that is missed")
        sweep(database_url)
        told = page(shop)
    assert "Redis cannot be reached" in told
    assert "start it, or correct REDIS_URL" in told
    assert "start a worker" not in told


def test_the_page_of_a_resource_shows_the_versions_before_an_event_that_cannot_be_read(
    database_url: str, redis_url: str
) -> None:
    stream = append_parked_user(database_url)
    sweep(database_url)
    with served_with(settings(database_url, redis_url)) as shop:
        answer = shop.get("/console/find", params={"q": stream}, follow_redirects=True)
        assert answer.status_code == 200
        assert "Version 2 cannot be read" in answer.text
        assert "UserMerged version 1 is not known to this release" in answer.text
        assert re.search(r'<a href="/console/events/2">UserMerged at 2</a>', answer.text)
        assert 'href="/console/parked"' in answer.text
        assert "v1 UserRegistered" in answer.text
        assert "Try again" not in answer.text
        with connect(database_url) as connection:
            skip(connection, Loop(SHOP), stream, "not needed", "me")
        after = shop.get(f"/console/users/{stream.removeprefix('user-')}")
    assert after.status_code == 200
    assert "cannot be read" not in after.text
    assert "Skipped: the read tables leave it out" in after.text
    assert "row equals log at version 2" in after.text
