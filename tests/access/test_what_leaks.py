"""What a caller sends by mistake or on purpose shows up where it does no harm: logs, traces, metrics, terminals."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import httpx
import psycopg
import pytest

from eventlog.events import UserRegistered
from eventlog.ids import new_id
from projector.jobs import table
from projector.jobs.table import Wanted
from service import jobs
from tests import loopback
from tests.access.keyed import bearing, new_key
from tests.builders import append_events, new_event, wait_until
from tests.projecting import sweep
from tests.served import NO_REDIS
from tests.system.slow import SlowClient
from tests.system.stack import SURROUNDINGS, ServiceProcess, answers, free_port

HOSTILE = "\r\n2026-01-01 00:00:00 ERROR forged\x1b[2J\x1b]0;owned\x07\u202eevil\u2066\u009b31m\u2028x"
# What a terminal obeys, what hides other characters, and what begins a line.
OBEYED = set("\r\x1b\x07\u202e\u2066\x9b\u2028\x7f")


class Service(NamedTuple):
    url: str
    process: ServiceProcess
    database_url: str
    operator: dict[str, str]


@pytest.fixture(scope="module", params=["text", "json"])
def service(
    request: pytest.FixtureRequest, module_database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    environment = {
        "DATABASE_URL": module_database_url,
        "REDIS_URL": NO_REDIS,
        "ALLOW_UNSAFE_DATABASE": "1",
        "NO_AUTH": "",
        "FAILURES_PER_MINUTE": "0",
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": request.param,
    }
    port = free_port()
    process = ServiceProcess("api", ["serve", "--port", str(port)], environment, tmp_path_factory.mktemp("api"))
    process.start()
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(f"{url}/healthz"), 60, "an API that answers")
        yield Service(url, process, module_database_url, bearing(new_key(module_database_url, "operator")))
    finally:
        process.stop()


def test_a_key_in_the_wrong_place_is_neither_taken_nor_logged(service: Service) -> None:
    text = new_key(service.database_url, "operator")
    url = service.url
    with loopback.Client(base_url=url) as client:
        for answer in (
            client.get("/orders", params={"key": text}),
            client.get("/orders", params={"access_token": text}),
            client.get("/orders", params={text: "1"}),
            client.get("/orders", headers={"X-Api-Key": text}),
            client.get("/orders", headers={"Cookie": f"orders_key={text}"}),
            client.get("/orders", headers={"Proxy-Authorization": f"Bearer {text}"}),
            client.get("/orders", auth=httpx.BasicAuth("key", text)),
        ):
            assert answer.status_code == 401
            assert text not in answer.text + str(answer.headers)
        for path in (f"/keys/{text}", f"/keys/{text}/rotate", f"/orders/{text}", f"/{text}"):
            client.delete(path, headers=service.operator)
            client.post(path, headers=service.operator)
        answer = client.get("/orders", headers=service.operator | {"X-Request-Id": text})
        assert answer.headers["x-request-id"] != text
        client.request(text, "/orders", headers=service.operator)
        metrics = client.get("/metrics", headers=service.operator).text
    assert text not in metrics
    wait_until(lambda: "(API key)" in service.process.log, 5, "the lines of these requests")
    assert text not in service.process.log
    assert text[20:60] not in service.process.log


def test_no_request_forges_a_line_of_the_log_or_moves_a_terminal(service: Service) -> None:
    before = len(service.process.log)
    sent = HOSTILE.encode()
    with loopback.Client(base_url=service.url) as client:
        for path in ("/orders/{}", "/users/{}/events", "/{}", "/keys/{}/rotate"):
            for method in ("GET", "POST"):
                client.request(method, path.format("".join(f"%{byte:02x}" for byte in sent)), headers=service.operator)
        for header in ("X-Request-Id", "traceparent", "User-Agent", "Idempotency-Key", "If-Match", "Sync-Token"):
            value = HOSTILE.replace("\r\n", "").encode()
            client.post("/users", json={"name": HOSTILE, "email": HOSTILE}, headers={**service.operator, header: value})
    for raw in (b"GET /or\x1bders HTTP/1.1", b"GET /\x9b HTTP/1.1", b"GE\x1bT / HTTP/1.1", b"GET /a\rb HTTP/1.1"):
        with closing(SlowClient(service.url)) as client_:
            client_.send(raw + b"\r\nHost: localhost\r\nX-Request-Id: a\x1bb\r\n\r\n")
            wait_until(lambda: client_.look() is None and bool(client_.received or client_.is_closed), 5, "an answer")
    wait_until(lambda: len(service.process.log) > before, 5, "lines")
    found = service.process.log[before:]
    assert not OBEYED & set(found)
    assert not [line for line in found.splitlines() if line.startswith("2026-01-01 00:00:00")]


def orders(database_url: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-P", "-m", "service.cli", *arguments]
    environment = SURROUNDINGS | {"DATABASE_URL": database_url, "PYTHONIOENCODING": "utf-8"}
    return subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)


def test_errors_and_names_that_others_wrote_move_no_terminal(database_url: str) -> None:
    stream = f"user-{new_id()}"
    registered = new_event(stream, 1, UserRegistered("Ada", "ada@example.org", "ada@example.org", None))
    append_events(database_url, [registered._replace(type=f"Registered{HOSTILE}")])
    sweep(database_url)
    actor = {"kind": "cli", "id": HOSTILE}
    job = asyncio.run(jobs.ask(database_url, actor, Wanted("verify", "shop", reason=HOSTILE)))
    with psycopg.connect(database_url) as connection:
        table.finish(connection, job, {"said": HOSTILE, "is_well": True})
        connection.execute("UPDATE shop.parked SET error = %s", (HOSTILE,))
        connection.execute("UPDATE sales.checkpoint SET error = %s, worker = %s", (HOSTILE, HOSTILE))
        connection.execute(
            "INSERT INTO mirrors.standings VALUES (%s, 'shop', 1, 1, 2, %s, %s, now(), now())", (HOSTILE,) * 3
        )
        connection.execute(
            "INSERT INTO operations.imports (id, path, finished_at, bytes_total, error) VALUES (%s, %s, now(), 9, %s)",
            (new_id(), HOSTILE, HOSTILE),
        )
    for command in (
        *("doctor", "doctor --json", "status", "status --json", "events", "events --json", "parked", "parked --json"),
        *("jobs", "jobs --json", f"jobs wait {job}", f"parked skip {stream} --reason why"),
    ):
        done = orders(database_url, *command.split())
        said = (done.stdout + done.stderr).decode()
        assert "forged" in said, command
        assert not OBEYED & set(said), command
        assert not [line for line in said.splitlines() if line.startswith("2026-01-01 00:00:00")], command


def test_the_audit_does_not_quote_the_error_of_a_skipped_group(database_url: str) -> None:
    """The log keeps it for ever, and the error may quote a person."""
    registered = new_event(f"user-{new_id()}", 1, UserRegistered("Ada", "ada@example.org", "ada@example.org", None))
    append_events(database_url, [registered._replace(type="UserTeleported")])
    sweep(database_url)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE shop.parked SET error = 'ada@example.org'")
    group = json.loads(orders(database_url, "parked", "--json").stdout)["groups"][0]["group"]
    orders(database_url, "parked", "skip", "--group", group, "--projection", "shop", "--reason", "why")
    (act,) = json.loads(orders(database_url, "audit", "--json").stdout)["data"]
    assert (act["act"], act["target"]) == ("group.skipped", "shop UserTeleported: 1 stream")


def test_the_command_line_prints_nothing_that_a_terminal_obeys(database_url: str) -> None:
    made = orders(database_url, "keys", "create", "--name", "till", "--role", "staff").stdout.decode()
    assert orders(database_url, "keys", "revoke", made[8:16], "--reason", HOSTILE).returncode == 0
    for arguments in (["audit"], ["audit", "--json"], ["events"], ["events", "--json"], ["keys", "list", "--json"]):
        said = orders(database_url, *arguments).stdout.decode()
        assert said
        assert not OBEYED & set(said), arguments
        assert not [line for line in said.splitlines() if line.startswith("2026-01-01 00:00:00")]
    act = json.loads(orders(database_url, "audit", "--json").stdout)["data"][0]
    assert act["reason"] == HOSTILE
    for arguments in (["keys", "revoke", HOSTILE], ["keys", "create", "--name", "x", "--role", HOSTILE]):
        refused = orders(database_url, *arguments)
        assert refused.returncode != 0
        assert not OBEYED & set(refused.stderr.decode()), arguments
        assert len(refused.stderr.decode().splitlines()) == 1
