"""Metrics as Prometheus reads them: of the API and the worker, through promtool and a real Prometheus."""

import contextlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import loopback
from tests.access.keyed import guarded, new_key
from tests.projector.worker_process import WorkerProcess
from tests.served import Shop
from tests.service.prometheus import DEPLOY, PROMETHEUS, PROMTOOL, prometheus, promtool
from tests.service.test_dashboard import expressions
from tests.system.stack import free_port


@pytest.fixture(scope="module")
def worker_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def shop(
    module_database_url: str, module_redis_url: str, worker_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shop]:
    """An API that demands a key of everybody, also on loopback, and a worker."""
    place = tmp_path_factory.mktemp("worker")
    with (
        guarded(module_database_url, module_redis_url, behind_proxy=True) as shop,
        WorkerProcess(module_database_url, module_redis_url, place, METRICS_PORT=str(worker_port)),
    ):
        yield shop


def of_worker(port: int) -> str:
    return loopback.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text


def test_the_worker_measures_how_long_events_take_to_be_visible(shop: Shop, worker_port: int) -> None:
    order = shop.order()
    token = str(shop.head())
    assert shop.get(f"/orders/{order['id']}", headers={"Sync-Token": token}).status_code == 200
    until = time.monotonic() + 10
    while 'orders_visible_delay_seconds_count{projection="shop"} 0' in (text := of_worker(worker_port)):
        assert time.monotonic() < until
    found = re.search(r'orders_visible_delay_seconds_count{projection="shop"} (\S+)', text)
    assert found
    assert 'orders_visible_delay_seconds_bucket{le="10.0",projection="shop"} ' + found[1] in text
    for phase in ("read", "fold", "write", "commit"):
        assert f'orders_projection_batch_duration_seconds_count{{phase="{phase}",projection="shop"}}' in text
    assert "process_cpu_seconds_total" in text


def test_a_worker_whose_port_is_taken_projects_without_metrics(
    database_url: str, redis_url: str, tmp_path: Path, worker_port: int, shop: Shop
) -> None:
    with WorkerProcess(database_url, redis_url, tmp_path, METRICS_PORT=str(worker_port)):
        log = (tmp_path / "worker.log").read_text()
    assert (
        f"the worker runs without metrics: it cannot listen on 127.0.0.1:{worker_port}: Address already in use" in log
    )
    assert "Traceback" not in log


@PROMTOOL
def test_the_metrics_keep_the_rules_of_prometheus(shop: Shop, worker_port: int) -> None:
    for text in (shop.get("/metrics").text, of_worker(worker_port)):
        promtool("check", "metrics", given=text.encode())


def ask(url: str, expression: str) -> list[dict[str, Any]]:
    answer = loopback.get(f"{url}/api/v1/query", params={"query": expression}, timeout=10).json()
    assert answer["status"] == "success", answer
    found: list[dict[str, Any]] = answer["data"]["result"]
    return found


@PROMETHEUS
def test_prometheus_reads_both_and_the_dashboard_finds_series_for_every_query(
    shop: Shop, worker_port: int, tmp_path: Path
) -> None:
    targets = {"orders-api": str(shop.http.base_url.netloc, "ascii"), "orders-worker": f"127.0.0.1:{worker_port}"}
    key = new_key(shop.database_url, "integration", ["metrics:read"])
    rules = (DEPLOY / "alerts.yml").read_text()
    with prometheus(tmp_path, targets, rules, key) as url:
        left = expressions()
        until = time.monotonic() + 60
        while left or len(ask_when_up(url, "up == 1")) < 2:
            assert time.monotonic() < until, left
            order = shop.order()
            shop.get(f"/orders/{order['id']}", headers={"Sync-Token": str(shop.head())})
            shop.get("/nowhere")
            shop.post("/users", json={"name": "A", "email": "taken@example.org"})
            left = [it for it in left if not ask_when_up(url, it)]
            time.sleep(0.5)
        assert not ask(url, "ALERTS{alertstate='firing'}")


def ask_when_up(url: str, expression: str) -> list[dict[str, Any]]:
    with contextlib.suppress(httpx.TransportError, json.JSONDecodeError):
        return ask(url, expression)
    return []
