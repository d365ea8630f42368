"""The dashboard of deploy/grafana, and the queries in it."""

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy/grafana"


def load() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((GRAFANA / "orders.json").read_text())
    return found


def expressions() -> list[str]:
    """The expressions of the dashboard, with its variables filled in."""
    found = [target["expr"] for panel in load()["panels"] for target in panel.get("targets", ())]
    assert len(found) > 20
    for name, value in {"$__rate_interval": "5m", "$projection": ".*", "$instance": ".*"}.items():
        found = [it.replace(name, value) for it in found]
    return found
