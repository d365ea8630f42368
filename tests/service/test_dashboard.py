"""deploy/grafana: the dashboard is well-formed, and asks only for metrics that docs/metrics.md lists.

Grafana itself is not installed here, so its import of the file is not tested.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.service.dashboard import GRAFANA, ROOT, expressions, load
from tests.service.prometheus import PROMTOOL, promtool

COLUMNS = 24


def known_names() -> Iterator[str]:
    listed = re.findall(r"^\| `(orders_\w+)` \| (\w+) \|", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE)
    for name, kind in listed:
        yield from (f"{name}_{it}" for it in ("bucket", "sum", "count")) if kind == "histogram" else (name,)


@PROMTOOL
def test_every_query_is_valid(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": it} for number, it in enumerate(expressions())]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", path)


@pytest.mark.parametrize("source", ["orders.json", "../prometheus/alerts.yml"])
def test_every_metric_that_is_asked_for_exists(source: str) -> None:
    asked = set(re.findall(r"\borders_\w+", (GRAFANA / source).read_text()))
    assert asked
    assert asked <= set(known_names())


def test_panels_have_their_own_ids_a_description_and_places_that_do_not_overlap() -> None:
    panels = load()["panels"]
    assert len({it["id"] for it in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        assert 0 <= at["x"] <= at["x"] + at["w"] <= COLUMNS
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        taken |= cells
        assert panel["type"] == "row" or panel["description"]


def test_the_dashboard_asks_the_data_source_that_is_provisioned() -> None:
    (source,) = yaml.safe_load((GRAFANA / "datasources.yml").read_text())["datasources"]
    asked = {it["datasource"]["uid"] for it in load()["panels"] if "datasource" in it}
    assert asked == {source["uid"]}
    assert load()["uid"] == "orders"
