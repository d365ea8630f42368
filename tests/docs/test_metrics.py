"""docs/metrics.md is the list of the metrics: names, types and labels are those of a live scrape."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from projector.metrics import ProjectorMetrics
from projector.projections.shop import SHOP
from projector.verify import verify
from tests.builders import wait_until
from tests.projecting import sweep
from tests.served import Shop, served

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `(orders_\w+)` \| (\w+) \|([^|]*)\|", re.MULTILINE)
LINES_MAX = 2_500


def documented() -> dict[str, tuple[str, set[str]]]:
    found = ROW.findall((ROOT / "docs/metrics.md").read_text())
    assert len(found) == len({name for name, _, _ in found})
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in found}


def name_of(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


@pytest.fixture(scope="module")
def shop(module_database_url: str) -> Iterator[Shop]:
    with served(module_database_url) as shop:
        yield shop


def scrape(shop: Shop) -> list[Metric]:
    return [it for it in text_string_to_metric_families(shop.get("/metrics").text) if it.name.startswith("orders_")]


def of_worker() -> list[Metric]:
    registry = CollectorRegistry()
    ProjectorMetrics(registry).make_labels("shop")
    return list(registry.collect())


def test_every_metric_is_documented_with_its_type_and_no_other(shop: Shop) -> None:
    there = {name_of(it): it.type for it in (*scrape(shop), *of_worker())}
    assert there == {name: kind for name, (kind, _) in documented().items()}


def test_the_labels_of_every_metric_are_documented(shop: Shop) -> None:
    order = shop.order()
    shop.post("/users", json={"name": "", "email": "x"})
    shop.get(f"/orders/{order['id']}", headers={"Sync-Token": "1", "Prefer": "wait=0"})
    sweep(shop.database_url)
    shop.get(f"/orders/{order['id']}", headers={"Sync-Token": "1"})
    verify(shop.database_url, SHOP, lambda _: None)
    wait_until(lambda: 'orders_verify_differences{projection="shop"} 0.0' in shop.get("/metrics").text, 10, "verified")
    for family in (*scrape(shop), *of_worker()):
        for sample in family.samples:
            assert sample.labels.keys() - {"le"} == documented()[name_of(family)][1], sample


def test_a_scrape_stays_small_after_every_route_and_refusal(shop: Shop) -> None:
    """Each route with each method and several ids: labels must not grow with what callers send."""
    paths = [it for it in shop.get("/openapi.json").json()["paths"] if it != "/metrics"]
    for path in paths:
        for number in range(3):
            place = re.sub(r"\{\w+\}", f"01890a5d-ac96-774b-bcce-00000000000{number}", path)
            for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "PROPFIND"):
                shop.http.request(method, place, json={"a": number}, headers={"Prefer": "wait=0"})
    for number in range(100):
        shop.get(f"/nowhere/{number}")
    text = shop.get("/metrics").text
    assert text.count("\n") < LINES_MAX
    assert "01890a5d" not in text
    assert "nowhere" not in text
