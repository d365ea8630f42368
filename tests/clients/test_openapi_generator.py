"""The Python and the Go client of openapi-generator, made with its default options, work against the service."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.clients.languages import run, succeed
from tests.clients.test_clients import STEPS
from tests.docs.walking import ROOT, running

WALKS = Path(__file__).with_name("generated")
REQUIREMENTS = ROOT / "requirements" / "generators.txt"
PACKAGE = "orders_by_generator"
# What a generated client does by itself; retries and the like are the transport's of our own clients.
TAKEN = [
    *["registers a user", "adds a product", "places an order with a key", "reads the order that it has just placed"],
    *["pages through a list", "filters by time", "meets a typed refusal that names the lines"],
    *["cancels one line, then the rest", "reads events by their types"],
]
# Debian's Go modules, among them the one that the generated Go code imports.
DEBIANS = Path("/usr/share/gocode")
# The JVM runs for seconds only.
JAVA = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program) is None:
            if os.environ.get("CI"):
                pytest.fail(f"install {program}")
            pytest.skip(f"no {program}")


@pytest.fixture(scope="module")
def api(module_database_url: str, module_redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an API with a worker."""
    with running(module_database_url, module_redis_url, tmp_path_factory.mktemp("service"), NO_AUTH="1") as served:
        yield served.url


@pytest.fixture(scope="module")
def environment() -> Path:
    """A virtual environment with the generator, and with what the generated Python code imports."""
    need("java")
    place = Path(sys.prefix) / "generators"
    mark = place / "requirements.txt"
    if not mark.exists() or mark.read_bytes() != REQUIREMENTS.read_bytes():
        uv = str(Path(sys.executable).with_name("uv"))
        succeed(run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(place)], cwd=ROOT))
        sync = [uv, "pip", "sync", "--quiet", "--require-hashes", "--python", str(place / "bin" / "python")]
        succeed(run([*sync, str(REQUIREMENTS)], cwd=ROOT))
        shutil.copy(REQUIREMENTS, mark)
    return place


@pytest.fixture(scope="module")
def clients(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the Python package, and `src/` with the Go package. One run of Java makes both."""
    place = tmp_path_factory.mktemp("generated")
    (jar,) = environment.glob("lib/python*/site-packages/openapi_generator_cli/openapi-generator.jar")
    for name, folder in {"python": "python", "go": f"src/{PACKAGE}"}.items():
        settings = {
            "generatorName": name,
            "inputSpec": str(ROOT / "openapi.json"),
            "outputDir": str(place / folder),
            "additionalProperties": {"packageName": PACKAGE},
            "globalProperties": dict.fromkeys(("apiDocs", "apiTests", "modelDocs", "modelTests"), "false"),
        }
        (place / f"{name}.json").write_text(json.dumps(settings))
    batch = [*JAVA, "-jar", str(jar), "batch", "--fail-fast", "--threads", "1", "--root-dir", str(place)]
    succeed(run([*batch, "python.json", "go.json"], cwd=place))
    return place


def in_python(environment: Path, clients: Path, api: str) -> subprocess.CompletedProcess[str]:
    command = [str(environment / "bin" / "python"), str(WALKS / "walk.py"), api]
    return run(command, cwd=clients, PYTHONPATH=str(clients / "python"))


def in_go(environment: Path, clients: Path, api: str) -> subprocess.CompletedProcess[str]:
    need("go")
    if not (DEBIANS / "src/gopkg.in/validator.v2").exists():
        if os.environ.get("CI"):
            pytest.fail("install golang-gopkg-validator.v2-dev")
        pytest.skip("no golang-gopkg-validator.v2-dev")
    settings = {"GO111MODULE": "off", "GOPATH": f"{clients}:{DEBIANS}", "CGO_ENABLED": "0", "GOFLAGS": ""}
    binary = clients / "walk"
    succeed(run(["go", "build", "-o", str(binary), str(WALKS / "walk.go")], cwd=clients, **settings))
    return run([str(binary), api], cwd=clients)


@pytest.mark.parametrize("walk", [in_python, in_go])
def test_a_caller_of_the_generated_client(
    walk: Callable[[Path, Path, str], subprocess.CompletedProcess[str]], environment: Path, clients: Path, api: str
) -> None:
    assert set(TAKEN) < set(STEPS)
    assert succeed(walk(environment, clients, api)).splitlines() == TAKEN
