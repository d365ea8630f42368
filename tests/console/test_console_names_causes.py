"""The console on a sick service: causes stand before what follows from them, and a remedy fits what runs."""

import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from html import unescape
from pathlib import Path

import psycopg
import pytest

from console.rendering import KEY_COOKIE
from projector.bell import Listener
from projector.checkpoint import WORKER
from projector.connecting import connect
from projector.loop import Loop
from projector.parked import skip
from projector.projections.shop import SHOP
from service.embedded import PostgresServer
from service.settings import Settings
from tests.access.keyed import bearing, new_key
from tests.builders import append_parked_user, wait_until
from tests.cluster import copy_cluster
from tests.projecting import sweep
from tests.served import NO_REDIS, Shop, served_with

SOON = 10
EFFECT = "Every write is refused with 503 after 5 seconds"
PROJECTOR = "no worker has looked at the log for"


def settings(database_url: str, redis_url: str) -> Settings:
    return Settings(
        database_url=database_url, redis_url=redis_url, no_auth=True, allow_unsafe_database=True, console=True
    )


def silence(database_url: str, *projections: str) -> None:
    with psycopg.connect(database_url) as connection:
        for name in projections:
            connection.execute(f"UPDATE {name}.checkpoint SET seen_at = now() - interval '1 min'".encode())


def page(shop: Shop, path: str = "doctor") -> str:
    """A page, by default that of the doctor, as a person reads it."""
    return " ".join(unescape(re.sub("<[^>]+>", " ", shop.get(f"/console/{path}").text)).split())


@contextmanager
def listening(redis_url: str) -> Iterator[None]:
    """As a worker that Redis counts, whether or not it does anything."""
    listener = Listener(redis_url)
    listener.heard(0.1)
    try:
        yield
    finally:
        listener.close()


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[PostgresServer]:
    """A server of which no check of the console finds anything, as `orders up` runs it."""
    copy_cluster(tmp_path)
    with PostgresServer(tmp_path) as server:
        yield server


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
    with listening(redis_url), served_with(settings(database_url, redis_url)) as shop:
        told = page(shop)
    assert "start a worker" not in told
    assert "mend the other findings on this page first; if this stays, the worker's log" in told
    # The server of the tests is not durable.
    assert told.index("Fsync is off") < told.index(PROJECTOR)


def test_tables_that_wait_for_a_rebuild_are_named_with_the_command_that_rebuilds_them(
    database_url: str, redis_url: str
) -> None:
    sweep(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE sales.checkpoint SET version = 0")
    with listening(redis_url), served_with(settings(database_url, redis_url)) as shop:
        shown = page(shop, "")
    assert (
        "The tables of sales are of another release Commands are accepted. Reads of these tables are refused" in shown
    )
    assert "Do orders replay sales . Open projections" in shown


def test_the_headline_about_a_session_in_the_way_begins_with_the_effect_and_leaves_the_query_out(
    durable: PostgresServer, redis_url: str
) -> None:
    sweep(durable.url)
    with psycopg.connect(durable.url) as held, served_with(settings(durable.url, redis_url)) as shop:
        held.execute("SELECT (SELECT 1) FROM log.head FOR UPDATE")
        holder = f"PostgreSQL process {held.info.backend_pid} holds log.head"

        def headline() -> str:
            (found,) = re.findall('<h1 id="state">(.*?)</h1>', shop.get("/console/").text)
            return str(found)

        wait_until(lambda: headline().startswith(f"{EFFECT}: {holder}"), 2 * SOON, "the effect")
        assert "SELECT (SELECT 1) FROM log.head" in page(shop, "")


def test_refused_rows_have_a_remedy_until_the_import_is_run_again(database_url: str) -> None:
    begin = (
        "INSERT INTO operations.imports (id, path, bytes_total, finished_at, refused) "
        "VALUES ('01890a5d-ac96-774b-bcce-b3020000000{}', 'shop/', 9, now(), '{}')"
    )
    with (
        served_with(settings(database_url, NO_REDIS)) as shop,
        psycopg.connect(database_url, autocommit=True) as asking,
    ):
        asking.execute(begin.format(0, '{"out-of-stock": 3}').encode())
        told = page(shop, "imports")
        assert "3 rows refused Accepted" in told
        assert "run the same command with --retry" in told
        asking.execute(begin.format(1, "{}").encode())
        told = page(shop, "imports")
        assert "all rows are in Accepted" in told
        assert "3 rows refused, imported again since Accepted" in told
        assert "--retry" not in told


def test_that_no_worker_has_ever_looked_is_said(database_url: str, redis_url: str) -> None:
    with served_with(settings(database_url, redis_url)) as shop:
        wait_until(lambda: "no worker has looked at the log yet" in page(shop, ""), SOON, "a finding")
        assert "Worker none has looked yet" in page(shop, "")


def test_a_redis_that_is_gone_is_to_be_mended_and_no_worker_started(database_url: str) -> None:
    with served_with(settings(database_url, NO_REDIS)) as shop:
        sweep(database_url)
        wait_until(lambda: "bell" in shop.get("/readyz").json()["degraded"], SOON, "a Redis that is missed")
        sweep(database_url)
        told = page(shop)
    assert "Redis cannot be reached" in told
    assert "start it, or correct REDIS_URL" in told
    assert "start a worker" not in told


def test_commands_that_fail_stand_before_a_redis_that_is_gone(database_url: str) -> None:
    sweep(database_url)
    with served_with(settings(database_url, NO_REDIS)) as shop, psycopg.connect(database_url) as holder:
        holder.execute("SELECT FROM log.head FOR UPDATE")
        assert shop.post("/users", json={"name": "Ada", "email": "ada@example.org"}).status_code == 503
        told = page(shop)
    assert told.index("Commands failed, and the next ones may fail too") < told.index("Redis cannot be reached")


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


def test_a_worker_that_hangs_is_named_and_to_be_ended(durable: PostgresServer, redis_url: str) -> None:
    sweep(durable.url)
    silence(durable.url, "shop", "sales", "activity")
    remedy = f"the worker {WORKER} does not answer: end that process (on"
    with listening(redis_url), served_with(settings(durable.url, redis_url)) as shop:
        told = page(shop)
        assert "1 finding" in told
        assert f"Do {remedy}" in told
        assert f"kill -9 {os.getpid()} ), then orders work" in told
        told = page(shop, "replay?projection=shop")
    assert "No worker answers" in told
    assert "No worker runs" not in told
    assert remedy in told


def test_a_redis_that_hangs_is_to_be_restarted_not_started(database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        redis_url = f"redis://127.0.0.1:{frozen.getsockname()[1]}/0"
        sweep(database_url)
        with served_with(settings(database_url, redis_url)) as shop:
            wait_until(lambda: "bell" in shop.get("/readyz").json()["degraded"], SOON, "a Redis that is missed")
            sweep(database_url)
            told = page(shop)
            overview = page(shop, "")
    assert "Redis takes connections but does not answer in time, so workers look for new events" in told
    assert "Do restart it: it hangs" in told
    assert "Bell" not in told
    assert "Redis does not answer" in overview


def test_a_database_that_is_gone_is_said_once_with_its_log_and_nothing_is_called_checked(
    durable: PostgresServer, redis_url: str
) -> None:
    sweep(durable.url)
    served_by_up = settings(durable.url, redis_url).model_copy(update={"data_dir": durable.data_dir})
    with served_with(served_by_up) as shop:
        assert "Looked at: readiness, projections" in page(shop)
        durable.stop()
        wait_until(lambda: "database" in shop.get("/readyz").json()["not_ready"], SOON, "a database that is missed")
        wait_until(lambda: "So these were not checked: projections" in page(shop), SOON, "a look without an answer")
        told, overview = page(shop), page(shop, "")
    assert "Looked at" not in told
    assert ".." not in told + overview
    assert "Commands are refused until this is mended; so are reads" in told
    assert f"the end of {durable.log_path} says why; delete nothing in {durable.directory} , which holds" in told


def test_a_token_issuer_that_does_not_answer_is_a_finding_with_its_remedy(database_url: str, redis_url: str) -> None:
    sweep(database_url)
    issuer = {"jwt_issuer": "http://127.0.0.1:1", "jwt_audience": "orders", "no_auth": False}
    given = settings(database_url, redis_url).model_copy(update=issuer)
    with served_with(given) as shop:
        key = new_key(database_url, "operator")
        shop.http.headers.update(bearing(key))
        shop.http.cookies.set(KEY_COOKIE, key)
        wait_until(lambda: "tokens" in shop.get("/readyz").json()["degraded"], SOON, "an issuer that is missed")
        told = page(shop)
    assert "The keys of the token issuer cannot be fetched (ConnectError" in told
    assert "Tokens are refused whose key this process does not know." in told
    assert "Do check JWT_ISSUER and JWT_JWKS_URL, and that the issuer answers" in told
