"""docker-compose.yml and Dockerfile, as far as they can be checked without Docker."""

import re
import shlex
import subprocess
import tomllib
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from access.hosts import Hosts
from service.cli.commands import app
from service.embedded import postgres_program, valkey_program
from service.settings import Settings
from tests.command_line import subcommands

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PROMETHEUS = ROOT / "deploy/prometheus/prometheus.yml"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}

# The keys of the compose specification that we use; a misspelt one is not among them.
KNOWN_KEYS = {
    "build", "command", "depends_on", "environment", "healthcheck", "image", "networks", "ports", "profiles", "restart",
    "secrets", "shm_size", "stop_grace_period", "volumes",
}  # fmt: skip


SECRET = re.compile("PASSWORD|SECRET|TOKEN|KEY|DATABASE_URL", re.IGNORECASE)


def made_by_the_page(name: str, password: str) -> str:
    """What the command of docs/deploying.md writes to secrets/<name>, with this password."""
    page = (ROOT / "docs/deploying.md").read_text()
    (written,) = re.findall(rf'^echo "(.*)" > secrets/{name}$', page, re.MULTILINE)
    assert "$(cat secrets/database_password)" in written
    return str(written).replace("$(cat secrets/database_password)", password)


def version_of(program: Path) -> str:
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+)\.\d+", said)
    assert found is not None
    return found.group(1)


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_known_keys_a_restart_policy_and_waits_for_existing_ones(name: str) -> None:
    service = SERVICES[name]
    assert set(service) <= KNOWN_KEYS
    assert service["restart"] in {"unless-stopped", "on-failure"}
    for needed, how in service.get("depends_on", {}).items():
        assert needed in SERVICES
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[needed]
        elif how["condition"] != "service_started":
            assert how["condition"] == "service_completed_successfully"
            assert SERVICES[needed]["restart"] == "on-failure"  # else it is started again when it is done


def test_every_volume_is_declared_and_used_and_every_file_is_there() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])}
    files = {source for source in used if source.startswith("./")}
    assert used - files == set(COMPOSE["volumes"])
    assert all((ROOT / file).is_file() for file in files)


def test_the_servers_are_of_the_versions_that_the_tests_run_on() -> None:
    assert SERVICES["postgres"]["image"] == f"postgres:{version_of(postgres_program('postgres'))}"
    assert SERVICES["valkey"]["image"] == f"valkey/valkey:{version_of(valkey_program())}"


@pytest.mark.parametrize("name", OURS)
def test_every_command_is_one_that_orders_has(name: str) -> None:
    program, subcommand, *options = OURS[name]["command"]
    assert program == "orders"
    help_text = CliRunner().invoke(app, [subcommand, "--help"])
    assert help_text.exit_code == 0
    names = {text for parameter in subcommands()[subcommand].params for text in parameter.opts}
    assert {option for option in options if option.startswith("--")} <= names


@pytest.mark.parametrize("name", OURS)
def test_the_environment_is_one_that_the_settings_take(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "database_url"
    secret.write_text(made_by_the_page("database_url", "x7"))
    for variable, value in OURS[name]["environment"].items():
        assert variable.removesuffix("_FILE").lower() in Settings.model_fields
        monkeypatch.setenv(variable, re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value))
    assert OURS[name]["environment"]["DATABASE_URL_FILE"] == "/run/secrets/database_url"
    monkeypatch.setenv("DATABASE_URL_FILE", str(secret))
    settings = Settings.load()
    assert settings.database_url == "postgresql://orders:x7@postgres:5432/orders"
    assert settings.redis_url is not None


def test_every_secret_comes_from_a_file_that_the_page_makes_and_none_has_a_default() -> None:
    assert {name: {"file": f"./secrets/{name}"} for name in COMPOSE["secrets"]} == COMPOSE["secrets"]
    used = [secret for service in SERVICES.values() for secret in service.get("secrets", [])]
    assert set(used) == set(COMPOSE["secrets"])
    for service in SERVICES.values():
        given = service.get("environment", {})
        files = {value.removeprefix("/run/secrets/") for value in given.values() if value.startswith("/run/secrets/")}
        assert files <= set(service.get("secrets", []))
        for variable, value in given.items():
            assert variable.endswith("_FILE") or not SECRET.search(variable), variable
            assert not re.search(r"://[^/]*:[^/]*@", value), variable
        assert not any(it.startswith("--") and SECRET.search(it) for it in service.get("command", []))
    assert SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD_FILE"] == "/run/secrets/database_password"
    page = (ROOT / "docs/deploying.md").read_text()
    assert all(f"> secrets/{name}\n" in page for name in COMPOSE["secrets"])
    assert "/secrets/" in (ROOT / ".gitignore").read_text().splitlines()
    assert (ROOT / ".dockerignore").read_text().splitlines()[1] == "*"


def test_nothing_but_the_proxy_reaches_the_api_and_the_proxy_reaches_nothing_else() -> None:
    networks = {name: set(service["networks"]) for name, service in SERVICES.items()}
    assert set.union(*networks.values()) == set(COMPOSE["networks"])
    to_the_world = {name for name, network in COMPOSE["networks"].items() if not (network or {}).get("internal")}
    assert {name for name in SERVICES if networks[name] & to_the_world} == {"caddy", "prometheus", "grafana"}
    reached = {name for name in SERVICES if networks[name] & networks["caddy"]} - {"caddy"}
    assert reached == {"api"}


def test_only_caddy_is_published_and_finds_the_api_where_the_image_serves_it() -> None:
    port = Settings.model_fields["port"].default
    published = [name for name, service in SERVICES.items() if "ports" in service and "profiles" not in service]
    assert published == ["caddy"]
    caddy = SERVICES["caddy"]
    assert caddy["ports"] == [f"${{ADDRESS:-127.0.0.1}}:{each}:{each}" for each in (80, 443)]
    assert caddy["environment"]["API"] == f"api:{port}"
    assert f"EXPOSE {port}" in DOCKERFILE
    # The file takes all of this from the environment.
    named = set(re.findall(r"\{\$(\w+):", (ROOT / "deploy/Caddyfile").read_text()))
    assert set(caddy["environment"]) <= named
    assert "./deploy/Caddyfile:/etc/caddy/Caddyfile:ro" in caddy["volumes"]


def test_the_profile_observability_is_of_this_machine_alone_and_its_images_are_pinned() -> None:
    watching = {name: service for name, service in SERVICES.items() if "profiles" in service}
    assert set(watching) == {"prometheus", "grafana"}
    for service in watching.values():
        assert service["profiles"] == ["observability"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"])


def test_prometheus_finds_the_worker_and_the_api_where_compose_serves_them() -> None:
    configuration = yaml.safe_load(PROMETHEUS.read_text())
    targets = {it["job_name"]: it["static_configs"][0]["targets"] for it in configuration["scrape_configs"]}
    worker = SERVICES["worker"]["environment"]["METRICS_PORT"]
    api = Settings.model_fields["port"].default
    assert targets == {"orders-api": [f"api:{api}"], "orders-worker": [f"worker:{worker}"]}
    name = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", SERVICES["api"]["environment"]["ALLOWED_HOSTS"])
    Hosts(name).check({"headers": [(b"host", targets["orders-api"][0].encode())], "server": ("172.18.0.2", api)})


def test_prometheus_sends_the_api_the_key_that_compose_gives_it() -> None:
    jobs = {it["job_name"]: it for it in yaml.safe_load(PROMETHEUS.read_text())["scrape_configs"]}
    (secret,) = SERVICES["prometheus"]["secrets"]
    assert jobs["orders-api"]["authorization"] == {"credentials_file": f"/run/secrets/{secret}"}


def test_the_image_copies_every_package_and_only_existing_files() -> None:
    copied = {shlex.split(line)[1] for line in DOCKERFILE.splitlines() if line.startswith("COPY ")}
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for path in copied:
        assert (ROOT / path).exists()
        assert f"!{path}" in ignored or f"!{path}/" in ignored
    assert copied - {"requirements/runtime.txt"} == set(
        PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    )


def test_the_image_installs_with_hashes_runs_unprivileged_and_serves() -> None:
    assert "--require-hashes -r requirements/runtime.txt" in DOCKERFILE
    lines = DOCKERFILE.splitlines()
    assert lines.index("USER 10001") < next(i for i, line in enumerate(lines) if line.startswith("CMD "))
    assert re.search(r"^FROM python:3\.1[1-9]-slim$", DOCKERFILE, re.MULTILINE)


def test_the_locked_requirements_agree_and_name_no_registry_and_no_path() -> None:
    pins: dict[str, str] = {}
    for name in ("dev", "embedded", "runtime"):
        text = (ROOT / "requirements" / f"{name}.txt").read_text()
        assert "://" not in text
        assert "--index" not in text
        assert "--find-links" not in text
        for package, version in re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE):
            assert pins.setdefault(package, version) == version
        assert text.count("--hash=sha256:") >= len(re.findall(r"^\S+==", text, re.MULTILINE))


def test_every_direct_dependency_has_its_reason() -> None:
    project = PYPROJECT["project"]
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    for requirement in chain(project["dependencies"], *project["optional-dependencies"].values()):
        name = re.split(r"[><=\[]", requirement)[0]
        assert re.search(rf"^\|[^|]*\b{re.escape(name)}\b", reasons, re.MULTILINE), f"{name} has no reason"
