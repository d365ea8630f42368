"""The metrics of two API processes behind one port."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from service.http.sharing import GAUGE_SECONDS_MAX, SharedFigures
from tests import loopback
from tests.builders import wait_until
from tests.served import NO_REDIS
from tests.system.stack import free_port

COMMANDS = 40


def counters(address: str) -> dict[str, float]:
    """The counters, from a connection of its own, which either process may accept."""
    text = loopback.get(f"{address}/metrics", timeout=10).text
    found = re.findall(r"^(orders_\w+_total\S*) (\S+)$", text, re.MULTILINE)
    # There is no Redis, so the bell goes on failing. The scrapes themselves are requests to /metrics.
    return {
        name: float(value)
        for name, value in found
        if not name.startswith("orders_bell") and 'route="/metrics"' not in name
    }


@pytest.fixture
def address(database_url: str, tmp_path: Path) -> Iterator[str]:
    port = free_port()
    environment = {
        "DATABASE_URL": database_url,
        "REDIS_URL": NO_REDIS,
        "ALLOW_UNSAFE_DATABASE": "1",
        "NO_AUTH": "1",
        "TMPDIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port), "--processes", "2"]
    process = subprocess.Popen(command, env=environment)
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 60
        while len(list(tmp_path.glob("orders-metrics-*/*.json"))) < 2:
            assert time.monotonic() < until, "two processes did not start"
            time.sleep(0.1)
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert not list(tmp_path.glob("orders-metrics-*"))


def test_two_processes_report_the_sum_of_their_counters(address: str) -> None:
    for number in range(COMMANDS):
        body = {"name": "Ada", "email": f"ada{number}@example.org"}
        assert loopback.post(f"{address}/users", json=body, timeout=10).status_code == 201
    wanted = dict.fromkeys(
        (
            'orders_commands_total{code="",command="RegisterUser",outcome="accepted"}',
            'orders_http_requests_total{method="POST",route="/users",status="201"}',
            'orders_events_appended_total{type="UserRegistered"}',
        ),
        COMMANDS,
    )
    wait_until(lambda: wanted.items() <= counters(address).items(), 20, "both processes have published")
    scrapes = [counters(address) for _ in range(10)]
    assert scrapes == [scrapes[0]] * 10
    assert wanted.items() <= scrapes[0].items()


def figures_of(route: str) -> list[Metric]:
    """A process that has answered one request, to this route, and has one in flight."""
    requests = CounterMetricFamily("requests", "-", labels=["route"])
    requests.add_metric([route], 1)
    return [requests, GaugeMetricFamily("in_flight", "-", 1)]


def test_the_counters_of_a_process_that_has_ended_still_count_but_not_its_gauges(tmp_path: Path) -> None:
    ended, here = (SharedFigures(tmp_path, lambda it=it: figures_of(it)) for it in ("/users", "/orders"))

    def total() -> dict[tuple[str, ...], float]:
        return {(it.name, *it.labels.values()): it.value for family in here.total() for it in family.samples}

    ended.publish()
    both = {("requests_total", "/users"): 1, ("requests_total", "/orders"): 1}
    assert total() == both | {("in_flight",): 2}
    last_seen = time.time() - GAUGE_SECONDS_MAX - 1
    os.utime(min(tmp_path.glob("*.json")), (last_seen, last_seen))
    assert total() == both | {("in_flight",): 1}
