"""deploy/prometheus: the rules are right, use metrics that exist, and each alert has a runbook."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.service.prometheus import DEPLOY, PROMTOOL, promtool

ROOT = Path(__file__).parents[2]
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
ALERTS = {rule["alert"]: rule for rule in RULES if "alert" in rule}


def anchors(page: str) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@PROMTOOL
def test_the_configuration_and_the_rules_are_valid(tmp_path: Path) -> None:
    """promtool wants the file with the key to be there."""
    shutil.copytree(DEPLOY, tmp_path, dirs_exist_ok=True)
    configuration = (DEPLOY / "prometheus.yml").read_text()
    (key,) = re.findall(r"credentials_file: (\S+)", configuration)
    (tmp_path / "key").write_text("ok_x")
    (tmp_path / "prometheus.yml").write_text(configuration.replace(key, str(tmp_path / "key")))
    promtool("check", "config", tmp_path / "prometheus.yml")
    promtool("check", "rules", DEPLOY / "alerts.yml")


@PROMTOOL
def test_the_alerts_go_off_when_they_should_and_only_then() -> None:
    promtool("test", "rules", DEPLOY / "alerts_test.yml")


@PROMTOOL
def test_an_alert_that_is_wrong_fails_its_test(tmp_path: Path) -> None:
    broken = (DEPLOY / "alerts.yml").read_text().replace("(orders_projection_lag_seconds) > 30", "() > 300")
    (tmp_path / "alerts.yml").write_text(broken.replace("by (projection) ()", "by (projection) (x)"))
    file = yaml.safe_load((DEPLOY / "alerts_test.yml").read_text())
    file["tests"] = [it for it in file["tests"] if "OrdersProjectionBehind" in fired_in(it)]
    (tmp_path / "alerts_test.yml").write_text(yaml.safe_dump(file))
    with pytest.raises(AssertionError, match="FAILED"):
        promtool("test", "rules", tmp_path / "alerts_test.yml")


def fired_in(test: dict[str, Any]) -> set[str]:
    """The alerts that a test of the rules wants to go off."""
    return {it["alertname"] for it in test["alert_rule_test"] if it.get("exp_alerts")}


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_has_a_severity_a_summary_a_runbook_and_a_test(name: str) -> None:
    alert = ALERTS[name]
    assert alert["labels"]["severity"] in {"page", "ticket"}
    assert alert["annotations"]["summary"]
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert anchor in anchors(page)
    tests = yaml.safe_load((DEPLOY / "alerts_test.yml").read_text())["tests"]
    expected = {it["alertname"]: it.get("exp_alerts") for test in tests for it in test["alert_rule_test"]}
    assert name in expected
    assert any(name in fired_in(it) for it in tests)


def test_the_runbook_has_no_section_without_an_alert() -> None:
    sections = re.findall(r"^## (\w+)$", (ROOT / "docs/runbook.md").read_text(), re.MULTILINE)
    assert sections == list(ALERTS)
