"""What /readyz says is wrong, and that it says it soon."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from eventlog.events import UserDeleted
from projector import bell
from projector.follower import Follower
from projector.projections.shop import SHOP
from projector.status import SILENT_AFTER
from service.embedded import ValkeyServer
from service.health.writes import LOOK_EVERY_SECONDS
from service.settings import Settings
from tests.builders import append_events, new_event, wait_until
from tests.projecting import sweep
from tests.served import NO_REDIS, Shop, served, served_with

NOWHERE = "postgresql://orders@127.0.0.1:1/orders"
VISIBLE_SECONDS_MAX = 10

AWAY = "The database cannot be read at the moment: check {}, and that the server runs; the log of the API says more"


def is_silent(url: str) -> None:
    """As if the last worker had died a while ago."""
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE shop.checkpoint SET seen_at = now() - interval '1 minute', worker = 'shop-7:123'")


@pytest.fixture
def shop(database_url: str) -> Iterator[Shop]:
    with served(database_url) as shop:
        yield shop


def ready(shop: Shop) -> dict[str, Any]:
    answer: dict[str, Any] = shop.get("/readyz").json()
    return answer


def seconds_until(shop: Shop, so: Callable[[dict[str, Any]], bool]) -> float:
    started = time.monotonic()
    wait_until(lambda: so(ready(shop)), VISIBLE_SECONDS_MAX, f"a reason in {ready(shop)}")
    return time.monotonic() - started


def test_readyz_reports_failing_commands_until_one_succeeds(shop: Shop) -> None:
    """As they do when the disk is full: whatever else is asked of the database is answered."""
    sweep(shop.database_url)
    with psycopg.connect(shop.database_url, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION public.full() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE 'could not extend file: No space left on device' USING ERRCODE = 'disk_full'; END $$;"
            "CREATE TRIGGER no_room BEFORE INSERT ON log.events EXECUTE FUNCTION public.full()"
        )
        user = {"name": "Ada", "email": "full@example.org"}
        assert shop.post("/users", json=user).status_code == 503
        answer = shop.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
        assert "the database's disk is full" in answer.json()["degraded"]["commands"]
        connection.execute("DROP TRIGGER no_room ON log.events")
    assert shop.post("/users", json=user).status_code == 201
    assert "commands" not in ready(shop)["degraded"]


def test_readyz_is_well_again_without_a_command_once_the_log_takes_writes(shop: Shop) -> None:
    sweep(shop.database_url)
    with psycopg.connect(shop.database_url) as holder:
        holder.execute("SELECT FROM log.head FOR UPDATE")
        answer = shop.post("/users", json={"name": "Ada", "email": "quiet@example.org"})
        assert answer.status_code == 503
        until = time.monotonic() + 1.5 * LOOK_EVERY_SECONDS
        while time.monotonic() < until:
            assert "commands" in ready(shop)["degraded"]
            time.sleep(0.2)  # until it has looked again
    wait_until(lambda: "commands" not in ready(shop)["degraded"], VISIBLE_SECONDS_MAX, "the end of that trouble")


def test_readyz_quotes_no_value_of_a_command_that_failed(shop: Shop) -> None:
    sweep(shop.database_url)
    with psycopg.connect(shop.database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE log.claims ADD CHECK (claim NOT LIKE '%ada@example.org')")
    assert shop.post("/users", json={"name": "Ada", "email": "ada@example.org"}).status_code == 503
    reason = ready(shop)["degraded"]["commands"]
    assert "the constraint claims_claim_check of log.claims" in reason
    assert "ada" not in reason


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT FROM shop.checkpoint FOR UPDATE",
        "LOCK TABLE shop.checkpoint",
        "LOCK TABLE shop.orders IN SHARE MODE",
    ],
)
def test_readyz_names_the_session_that_blocks_the_projector_with_its_query(shop: Shop, statement: str) -> None:
    sweep(shop.database_url)
    is_silent(shop.database_url)
    with psycopg.connect(shop.database_url, application_name="psql of Ada") as holder:
        holder.execute(statement.encode())
        assert seconds_until(shop, lambda found: "psql of Ada" in str(found["not_ready"])) < VISIBLE_SECONDS_MAX
        told = " ".join(ready(shop)["not_ready"].values())
        assert f"PostgreSQL process {holder.info.backend_pid} (psql of Ada, idle in transaction for" in told
        assert statement in told


def test_readyz_names_the_process_that_holds_a_changed_row(shop: Shop) -> None:
    user = shop.user()
    sweep(shop.database_url)
    shop.put(f"/users/{user['id']}", json={"name": "Another", "email": user["email"]})
    waiting = Follower(shop.database_url, SHOP)
    with psycopg.connect(shop.database_url, application_name="psql of Ada") as holder:
        holder.execute("UPDATE shop.users SET name = 'mine'")
        sweeping = threading.Thread(target=waiting.sweep)
        sweeping.start()
        told = "the lock that orders projector waits for"
        assert seconds_until(shop, lambda found: told in str(found["not_ready"])) < 10
    sweeping.join(VISIBLE_SECONDS_MAX)
    waiting.close()
    sweep(shop.database_url)
    assert ready(shop)["not_ready"] == {}


def test_readyz_reports_a_lost_primary_when_there_is_a_replica(database_url: str) -> None:
    sweep(database_url)
    settings = Settings(database_url=NOWHERE, query_database_url=database_url, redis_url=NO_REDIS, no_auth=True)
    with served_with(settings) as shop:
        started = time.monotonic()
        answer = shop.get("/readyz")
        assert time.monotonic() - started < VISIBLE_SECONDS_MAX
        assert answer.status_code == 503
        assert answer.json()["not_ready"] == {"database": AWAY.format("DATABASE_URL")}


def test_readyz_reports_a_lost_replica(database_url: str) -> None:
    settings = Settings(
        database_url=database_url,
        query_database_url=NOWHERE,
        redis_url=NO_REDIS,
        allow_unsafe_database=True,
        no_auth=True,
    )
    with served_with(settings) as shop:
        assert ready(shop)["not_ready"] == {"replica": AWAY.format("QUERY_DATABASE_URL")}


def test_readyz_reports_a_replica_of_another_log(database_url: str, module_database_url: str) -> None:
    with psycopg.connect(module_database_url) as other:
        other.execute("UPDATE log.head SET log_uuid = gen_random_uuid()")
    sweep(database_url)
    sweep(module_database_url)
    urls = {"database_url": database_url, "query_database_url": module_database_url, "redis_url": NO_REDIS}
    with served_with(Settings(**urls, allow_unsafe_database=True, no_auth=True)) as shop:
        assert "QUERY_DATABASE_URL leads to another log" in ready(shop)["not_ready"]["replica"]


def test_a_server_that_is_not_durable_is_not_ready_unless_that_is_allowed(database_url: str) -> None:
    sweep(database_url)
    with served_with(Settings(database_url=database_url, redis_url=NO_REDIS, no_auth=True)) as shop:
        assert "fsync = on" in ready(shop)["not_ready"]["database"]


def test_without_redis_the_service_is_ready_but_slower(database_url: str) -> None:
    with served(database_url) as shop:
        sweep(database_url)
        wait_until(lambda: "bell" in ready(shop)["degraded"], VISIBLE_SECONDS_MAX, "a Redis that is missed")
        sweep(database_url)
        answer = shop.get("/readyz")
        assert answer.status_code == 200
        assert answer.json()["status"] == "degraded"
        assert "Redis cannot be reached, so" in answer.json()["degraded"]["bell"]


def test_a_redis_that_wants_a_password_is_degraded_with_the_reason(database_url: str, place: Path) -> None:
    with ValkeyServer(place) as valkey, redis.Redis.from_url(valkey.url) as client:
        client.config_set("requirepass", "secret")
        with served(database_url, valkey.url) as shop:
            wait_until(lambda: "bell" in ready(shop)["degraded"], VISIBLE_SECONDS_MAX, "a Redis that is missed")
            assert "Redis rejects the user or the password of REDIS_URL" in ready(shop)["degraded"]["bell"]


@pytest.mark.parametrize(("setting", "reason"), [("maxmemory", "maxmemory"), ("replicaof", "read only replica")])
def test_a_redis_that_rejects_writes_is_degraded_with_the_reason(
    database_url: str, place: Path, setting: str, reason: str
) -> None:
    with ValkeyServer(place) as valkey, redis.Redis.from_url(valkey.url) as client:
        if setting == "maxmemory":
            client.config_set("maxmemory", 1)
        else:
            client.replicaof("127.0.0.1", "1")
        with served(database_url, valkey.url) as shop:

            def told() -> bool:
                return reason in str(ready(shop)["degraded"].get("bell"))

            wait_until(told, VISIBLE_SECONDS_MAX, reason)
            # Two more looks of the bell's thread.
            until = time.monotonic() + 2.5 * bell.LOOK_SECONDS
            while time.monotonic() < until:
                assert told(), ready(shop)
                time.sleep(0.2)


def test_readyz_reports_unheard_bells_until_a_worker_hears_one(database_url: str, redis_url: str) -> None:
    listener = bell.Listener(redis_url)
    with served(database_url, redis_url) as shop:
        wait_until(lambda: "no worker listens" in str(ready(shop)["degraded"]), VISIBLE_SECONDS_MAX, "a silence")

        def hears() -> bool:
            listener.heard(0.1)
            return not ready(shop)["degraded"]

        wait_until(hears, VISIBLE_SECONDS_MAX, "a worker that hears")
    listener.close()


def test_readyz_reports_parked_streams_and_stays_ready(shop: Shop) -> None:
    append_events(shop.database_url, [new_event("user-x", 1, UserDeleted())._replace(type="UserTeleported")])
    sweep(shop.database_url)
    answer = shop.get("/readyz")
    assert (answer.status_code, answer.json()["degraded"]["projector"]) == (
        200,
        "parked: 1 stream of shop; see `orders parked`",
    )


def test_one_dead_worker_is_one_reason_for_all_its_projections(shop: Shop) -> None:
    sweep(shop.database_url)
    with psycopg.connect(shop.database_url) as connection:
        for number, name in enumerate(("shop", "sales", "activity"), 60):
            ago = f"seen_at = now() - interval '{number} s', worker = 'shop-7:123'"
            connection.execute(f"UPDATE {name}.checkpoint SET {ago}".encode())
    reason = ready(shop)["not_ready"]["projector"]
    assert reason.count("no worker has looked at the log for 6") == 1
    assert not reason.startswith("shop")


def test_a_clock_that_was_set_back_hides_no_dead_worker(shop: Shop) -> None:
    sweep(shop.database_url)
    with psycopg.connect(shop.database_url) as connection:
        connection.execute("UPDATE shop.checkpoint SET seen_at = now() + interval '1 hour', worker = 'shop-7:123'")
    assert "since the clock was set back; the last was shop-7:123" in ready(shop)["not_ready"]["projector"]
    assert shop.get("/projections").json()["data"][0]["state"] == "stopped"
    sweep(shop.database_url)
    assert ready(shop)["not_ready"] == {}


def test_readyz_reports_a_silent_worker_in_time() -> None:
    assert SILENT_AFTER.total_seconds() < VISIBLE_SECONDS_MAX
