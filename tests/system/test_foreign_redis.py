"""A Redis that its operator has set up otherwise: each part says what to do, and no command is refused."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from projector import bell
from service.doctor.finding import Finding
from service.doctor.neighbours import redis_check
from service.embedded import ValkeyServer
from tests.builders import wait_until
from tests.served import served
from tests.system.stack import START_SECONDS_MAX

ROOT = Path(__file__).parents[2]
SOON = 15
END_SECONDS_MAX = 30
LINE_LENGTH_MAX = 300

# What docs/deploying.md tells operators to give the service's user.
RIGHTS = "~orders:* ~dramatiq* &orders:* +@read +@write +@scripting +@pubsub +@connection +info +client|list"


class Case(NamedTuple):
    """How the server is set up, the rights of the user, the end of REDIS_URL; words of the fault and of its remedy."""

    started_with: Mapping[str, str] = MappingProxyType({})
    configured: Mapping[str, str] = MappingProxyType({})
    rights: str = ""
    end: str = "/0"
    fault: str = ""
    remedy: str = ""


FULL: Any = {"fault": "used memory > 'maxmemory'", "remedy": "raise maxmemory"}
RENAMED: Any = {"remedy": "take the command out of its rename-command"}
RIGHT: Any = {"remedy": "docs/deploying.md lists (ACL SETUSER)"}
CASES = {
    "a password is wanted": Case(
        {}, {"requirepass": "secret"}, fault="the user or the password", remedy="correct REDIS_URL"
    ),
    "too few databases": Case(
        {"databases": "4"}, end="/4", fault="DB index is out of range", remedy="number at the end of REDIS_URL"
    ),
    "no scripts by name": Case({"include": "EVALSHA"}, fault="unknown command 'EVALSHA')", **RENAMED),
    "no publishing by name": Case({"include": "PUBLISH"}, fault="unknown command 'PUBLISH')", **RENAMED),
    "full": Case({}, {"maxmemory": "1"}, **FULL),
    "full of keys that do not expire": Case({}, {"maxmemory": "1", "maxmemory-policy": "volatile-lru"}, **FULL),
    "full of anything": Case({}, {"maxmemory": "1", "maxmemory-policy": "allkeys-lru"}, **FULL),
    "a replica": Case({"replicaof": "127.0.0.1 1"}, fault="read only replica", remedy="lead REDIS_URL to the primary"),
    "replicas are wanted": Case({}, {"min-replicas-to-write": "1"}, fault="NOREPLICAS", remedy="min-replicas-to-write"),
    "no right to channels": Case(rights="resetchannels ~* +@all", fault="access a channel", **RIGHT),
    "no right to keys": Case(rights="&* +@all", fault="access a key", **RIGHT),
    "no right to scripts": Case(rights="~* &* +@all -@scripting", fault="run the 'evalsha' command", **RIGHT),
    "no right to a command in scripts": Case(rights="~* &* +@all -hset", fault="run the 'hset' command)", **RIGHT),
}
WELL = {
    "the rights that the documentation lists": Case(rights=RIGHTS),
    "the third protocol": Case(end="/0?protocol=3"),
    "short time-outs, events of keys": Case(
        {}, {"timeout": "1", "tcp-keepalive": "0", "notify-keyspace-events": "KEA"}
    ),
}
OF_WORKERS = ["a password is wanted", "too few databases", "no scripts by name", "no right to channels"]


@contextmanager
def running(case: Case) -> Iterator[str]:
    """REDIS_URL, with a server that is set up like that."""
    with tempfile.TemporaryDirectory() as place:
        # As root the server runs as another user, who must get through.
        Path(place).chmod(0o755)
        settings = case.started_with
        if name := settings.get("include"):
            file = Path(place) / "renamed.conf"
            file.write_text(f'rename-command {name} ""\n')
            settings = {"include": str(file)}
        with ValkeyServer(Path(place), settings) as server, redis.Redis.from_url(server.url) as client:
            user = ""
            if case.rights:
                client.execute_command("ACL", "SETUSER", "orders", "on", ">secret", *case.rights.split())
                user = "orders:secret@"
            for setting, value in case.configured.items():
                client.config_set(setting, value)
            yield f"redis://{user}{urlsplit(server.url).netloc}{case.end}"


@contextmanager
def worker(database_url: str, redis_url: str) -> Iterator[list[str]]:
    """A worker, while the block runs; afterwards the list has the lines of its log."""
    urls = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "ALLOW_UNSAFE_DATABASE": "1"}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "service.cli", "work"],
        env={"PATH": os.defpath, "PYTHONPATH": str(ROOT)} | urls,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log: list[str] = []
    try:
        yield log
    finally:
        process.terminate()
        _, said = process.communicate(timeout=END_SECONDS_MAX)
        log += said.splitlines()


def queue_is_empty(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        return client.llen(f"dramatiq:{bell.QUEUE}") == 0


def findings(database_url: str, redis_url: str) -> list[Finding]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        return list(redis_check(redis_url).run(connection))


@pytest.mark.parametrize("name", CASES)
def test_readyz_doctor_and_log_name_the_fault_of_redis_and_its_remedy(
    name: str, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    case = CASES[name]
    with running(case) as url, served(database_url, url) as shop:
        shop.user()

        def told() -> str:
            return str(shop.get("/readyz").json()["degraded"].get("bell"))

        wait_until(lambda: case.fault in told(), SOON, case.fault)
        (found,) = findings(database_url, url)
        shop.user()
        reasons = [told(), *{it.getMessage() for it in caplog.records if it.name == "projector.bell"}]
    print(*reasons, found, sep="\n")
    assert case.fault in found.what
    assert case.remedy in found.remedy
    for reason in reasons:
        assert case.remedy in reason
        assert len(reason) < LINE_LENGTH_MAX
        assert "\n" not in reason
        assert "args beginning" not in reason


def test_the_doctor_misses_the_right_to_list_workers(database_url: str) -> None:
    """The bell rings without it, but `orders status` cannot name the workers, and points to the doctor."""
    with running(Case(rights="~* &* +@all -@admin")) as url:
        (found,) = findings(database_url, url)
    assert "run the 'client|list' command" in found.what
    assert RIGHT["remedy"] in found.remedy


@pytest.mark.parametrize("name", WELL)
def test_a_redis_that_is_set_up_otherwise_is_used(name: str, database_url: str) -> None:
    with running(WELL[name]) as url, served(database_url, url) as shop, worker(database_url, url) as log:
        wait_until(lambda: len(bell.workers(url)) == 1, START_SECONDS_MAX, "a worker that listens")
        wait_until(lambda: shop.get("/readyz").json()["status"] == "ok", SOON, "a service that is well")
        shop.user()
        assert findings(database_url, url) == []
        wait_until(lambda: queue_is_empty(url), SOON, "a message that Dramatiq has taken")
    assert not [line for line in log if " CRITICAL " in line or " WARNING " in line]


@pytest.mark.parametrize("name", OF_WORKERS)
def test_the_worker_goes_on_by_looking_itself(name: str, database_url: str) -> None:
    case = CASES[name]
    with running(case) as url, served(database_url, url) as shop, worker(database_url, url) as log:

        def sees() -> bool:
            user = shop.user()
            after = {"Sync-Token": str(shop.head()), "Prefer": "wait=3"}
            return shop.get(f"/users/{user['id']}", headers=after).status_code == 200

        wait_until(sees, START_SECONDS_MAX, "a worker that projects")
    told = [line for line in log if " CRITICAL " in line or " WARNING " in line]
    assert told
    for line in told:
        assert case.remedy in line
        assert len(line) < LINE_LENGTH_MAX
    assert not [line for line in log if "Traceback" in line or "args beginning" in line]
