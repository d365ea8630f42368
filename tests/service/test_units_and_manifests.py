"""The systemd units and Kubernetes manifests of deploy/, as far as they can be checked without either."""

import configparser
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.http.connections import CONNECTIONS_MAX, OTHER_DESCRIPTORS
from service.settings import Settings
from tests.command_line import subcommands

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
STOP_SECONDS_MAX = 10  # each process is gone by then: docs/operating.md
UNITS = {"orders-api": ["serve"], "orders-worker": ["work"]}
PODS = {"orders-api": ["serve", "--host", "0.0.0.0"], "orders-worker": ["work"]}  # noqa: S104 - a pod's own address
(IMAGE_USER,) = re.findall(r"^USER (\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_runs_a_command_of_orders_without_root_and_waits_for_its_end(name: str) -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / f"{name}.service")
    service = unit["Service"]
    program, *arguments = service["ExecStart"].split()
    assert program.endswith("/bin/orders")
    assert arguments == UNITS[name]
    assert service["DynamicUser"] == service["NoNewPrivileges"] == "yes"
    assert service["ProtectSystem"] == "strict"
    assert service["Restart"] == "always"
    assert int(service["TimeoutStopSec"]) > STOP_SECONDS_MAX
    assert unit["Install"]["WantedBy"] == "multi-user.target"
    if name == "orders-api":
        assert int(service["LimitNOFILE"]) >= CONNECTIONS_MAX + OTHER_DESCRIPTORS


def manifests(kind: str) -> dict[str, dict[str, Any]]:
    found = yaml.safe_load_all((DEPLOY / "kubernetes.yaml").read_text())
    return {it["metadata"]["name"]: it["spec"] for it in found if it["kind"] == kind}


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for name, deployment in manifests("Deployment").items():
        assert deployment["selector"]["matchLabels"] == deployment["template"]["metadata"]["labels"] == {"app": name}
        yield name, deployment["template"]["spec"]


def test_every_pod_runs_as_the_user_of_the_image_and_writes_nothing() -> None:
    for _, pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == int(IMAGE_USER)
        for container in (*pod["initContainers"], *pod["containers"]):
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_no_pod_takes_the_address_of_another_service_for_a_setting() -> None:
    assert [pod["enableServiceLinks"] for _, pod in pods()] == [False] * len(PODS)


def test_every_pod_migrates_first_and_then_runs_a_command_of_orders() -> None:
    commands = subcommands()
    secrets = re.findall(r"--from-literal=(\w+)=", (DEPLOY / "kubernetes.yaml").read_text())
    assert {name for name, _ in pods()} == set(PODS)
    for name, pod in pods():
        (migration,), (container,) = pod["initContainers"], pod["containers"]
        assert migration["args"] == ["orders", "migrate"]
        assert container["args"] == ["orders", *PODS[name]]
        for each in (migration, container):
            _, command, *arguments = each["args"]
            known = {option for parameter in commands[command].params for option in parameter.opts}
            assert {it for it in arguments if it.startswith("--")} <= known
            for variable in each["env"]:
                assert variable["name"].lower() in Settings.model_fields
                assert "value" in variable or variable["valueFrom"]["secretKeyRef"]["key"] in secrets


def test_the_api_is_probed_where_it_listens_and_has_time_to_stop() -> None:
    pod = dict(pods())["orders-api"]
    (container,) = pod["containers"]
    (port,) = container["ports"]
    assert port["containerPort"] == Settings.model_fields["port"].default
    assert {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "readiness", "liveness")} == {
        "startup": {"path": "/readyz", "port": port["name"]},
        "readiness": {"path": "/healthz", "port": port["name"]},
        "liveness": {"path": "/healthz", "port": port["name"]},
    }
    _, before = container["lifecycle"]["preStop"]["exec"]["command"]
    assert pod["terminationGracePeriodSeconds"] > int(before) + STOP_SECONDS_MAX
    (service,) = manifests("Service").values()
    assert service["selector"] == {"app": "orders-api"}
    assert service["ports"][0]["targetPort"] == port["name"]


def test_a_worker_has_time_to_stop() -> None:
    assert dict(pods())["orders-worker"]["terminationGracePeriodSeconds"] > STOP_SECONDS_MAX
