"""Every HTTP server that `bench servers` compares serves the application, and rejects requests that have no room."""

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import httpx
import pytest

from bench.process import Process
from bench.serve_behind import SERVERS
from bench.stage import ROOT, free_port
from tests import loopback
from tests.served import NO_REDIS, problem


@pytest.fixture
def client(request: pytest.FixtureRequest, module_database_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client of the application behind the server that the parameter names."""
    if "granian" in request.param and find_spec("granian") is None:
        pytest.skip("only make bench installs granian")
    url = f"http://127.0.0.1:{(port := free_port())}"
    environment = os.environ | {"DATABASE_URL": module_database_url, "REDIS_URL": NO_REDIS, "PORT": str(port)}
    environment |= {"PYTHONPATH": str(ROOT), "ALLOW_UNSAFE_DATABASE": "true", "NO_AUTH": "1"}
    process = Process("api", [sys.executable, "-P", "-m", "bench.serve_behind", *request.param], environment, tmp_path)
    process.start()
    try:
        process.wait_until_answers(f"{url}/healthz")
        with loopback.Client(base_url=url) as client:
            yield client
    finally:
        process.stop()


@pytest.mark.parametrize("client", [(server,) for server in SERVERS], indirect=True, ids=SERVERS)
def test_a_server_serves_the_application(client: httpx.Client) -> None:
    assert client.get("/users").json()["data"] == []


@pytest.mark.parametrize("client", [(server, "refusing") for server in SERVERS], indirect=True, ids=SERVERS)
def test_a_server_without_room_rejects_everything_but_health_checks(client: httpx.Client) -> None:
    for _ in range(2):
        user = {"name": "Ada", "email": "ada@example.org"}
        assert problem(client.post("/users", json=user)) == (503, "overloaded")
        assert client.get("/healthz").status_code == 200
