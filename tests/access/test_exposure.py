"""The service does not start where anybody could do anything, and takes secrets from files."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.access.keyed import new_key
from tests.builders import wait_until
from tests.system.stack import answers, free_port

EVERYWHERE = "0.0.0.0"  # noqa: S104 - it is refused


def serve(database_url: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `orders serve` as long as it takes to be refused."""
    given = {"DATABASE_URL": database_url, "REDIS_URL": "redis://127.0.0.1:1/0", "ALLOW_UNSAFE_DATABASE": "1"}
    command = [sys.executable, "-P", "-m", "service.cli", "serve", "--port", str(free_port()), *arguments]
    return subprocess.run(command, env=given | environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"NO_AUTH": "1"}, "NO_AUTH lets everybody"),
        ({"NO_AUTH": "1", "BEHIND_PROXY": "1"}, "NO_AUTH lets everybody"),
        ({}, "set BEHIND_PROXY=1"),
        ({"BEHIND_PROXY": "1"}, "there is no API key yet"),
        ({"JWT_ISSUER": "https://login.example"}, "JWT_AUDIENCE"),
        ({"JWT_ISSUER": "http://login.example", "JWT_AUDIENCE": "orders"}, "JWT_ISSUER: must start with https://"),
        ({"JWT_ALGORITHMS": "RS256,HS256"}, "JWT_ALGORITHMS: 'HS256' is not accepted"),
        ({"JWT_ALGORITHMS": "none"}, "JWT_ALGORITHMS: 'none' is not accepted"),
        ({"JWT_ROLE_MAP": "admin=king"}, "JWT_ROLE_MAP"),
        ({"REDIS_URL": "", "REDIS_URL_FILE": "/nowhere"}, "REDIS_URL_FILE: cannot read /nowhere"),
    ],
)
def test_an_open_door_is_one_line(database_url: str, environment: dict[str, str], reason: str) -> None:
    done = serve(database_url, "--host", EVERYWHERE, **environment)
    assert done.returncode in {1, 2}
    assert reason in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_url_comes_from_a_file(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(database_url + "\n")
    environment = {"DATABASE_URL": "", "DATABASE_URL_FILE": str(tmp_path / "url"), "BEHIND_PROXY": "1"}
    assert "there is no API key yet" in serve(database_url, "--host", EVERYWHERE, **environment).stderr


def test_with_a_key_and_a_proxy_it_listens_everywhere(database_url: str) -> None:
    new_key(database_url, "operator")
    environment = {"BEHIND_PROXY": "1", "DATABASE_URL": database_url, "REDIS_URL": "redis://127.0.0.1:1/0"}
    command = [
        sys.executable,
        "-P",
        "-m",
        "service.cli",
        "serve",
        "--host",
        EVERYWHERE,
        "--port",
        str(port := free_port()),
    ]
    process = subprocess.Popen(command, env=environment | {"ALLOW_UNSAFE_DATABASE": "1"})
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/healthz"), 60, "an API that listens")
    finally:
        process.terminate()
        process.wait(20)
