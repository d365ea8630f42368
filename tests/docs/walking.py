"""The documentation's shell blocks, run as a reader would: one after the other, in one shell, with what they print."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg

from service import first_key

ROOT = Path(__file__).parents[2]
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 20
API = "http://127.0.0.1:8000"

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_REQUEST = re.compile(r"urn:request:[0-9a-f]{16}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class Step(NamedTuple):
    """Commands, and what the page says that they print; None when it does not say."""

    commands: str
    printed: str | None


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(text: str, language: str | None = None) -> list[tuple[str, str]]:
    """The fenced blocks of a page: (language, content)."""
    return [found for found in _BLOCK.findall(text) if language is None or found[0] == language]


def steps(text: str) -> list[Step]:
    """The `sh` blocks of a page, each with the `text` block that follows it directly."""
    found: list[Step] = []
    end = -1
    for block in _BLOCK.finditer(text):
        language, content = block.groups()
        if language == "sh":
            found.append(Step(content, None))
        elif language == "text" and found and not text[end : block.start()].strip():
            found[-1] = Step(found[-1].commands, content)
        end = block.end()
    return found


class Api(NamedTuple):
    """Where an API is, and the file with an operator's key for it."""

    url: str
    key_file: Path


def walk(steps: list[Step], api: Api) -> list[str]:
    """What each of the steps prints, run in one shell against the API at this URL instead of the documented one."""
    end = "----8<----"
    script = "set -eu\n" + f"\necho; echo '{end}'\n".join(step.commands for step in steps).replace(API, api.url)
    script = script.replace("data/api.key", str(api.key_file))
    environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        ["sh", "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [masked(part) for part in done.stdout.split(f"{end}\n")]


def check(page: str, api: Api) -> None:
    """Run the commands of a page, and compare what they print with what the page says."""
    wanted = steps(text_of(page))
    assert len(wanted) > 5
    for step, printed in zip(wanted, walk(wanted, api), strict=True):
        if step.printed is not None:
            assert printed == masked(step.printed), step.commands


def masked(text: str) -> str:
    """Without what is another each time: ids and times."""
    return _TIME.sub("<time>", _REQUEST.sub("urn:request:<id>", _UUID.sub("<id>", text))).strip()


def orders(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "service.cli", *arguments]


def run_orders(arguments: list[str], database_url: str, place: Path) -> None:
    """Run a command that must succeed, and complain of nothing."""
    environment = {"DATABASE_URL": database_url}
    done = subprocess.run(
        orders(*arguments), cwd=place, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), (arguments, done.stdout, done.stderr)


@contextlib.contextmanager
def running(database_url: str, redis_url: str, place: Path, **roles: str) -> Iterator[Api]:
    """`orders serve` and `orders work`, as an operator starts them. Yields the API.

    `roles` are further variables of the API alone.
    """
    port = _free_port()
    # The tests' server is set up to be fast, not to keep anything.
    unsafe = {"ALLOW_UNSAFE_DATABASE": "1"}
    common = {"PATH": os.environ["PATH"], "REDIS_URL": redis_url, "LOG_LEVEL": "warning"} | unsafe
    worker = common | {"DATABASE_URL": database_url}
    first_key.ensure(database_url, place)
    with contextlib.ExitStack() as stack:
        for arguments, environment in (
            (("work",), worker),
            (("serve", "--port", str(port)), worker | roles),
        ):
            log = stack.enter_context((place / f"{arguments[0]}.log").open("wb"))
            process = subprocess.Popen(
                orders(*arguments), cwd=place, env=environment, stdout=log, stderr=subprocess.STDOUT
            )
            stack.callback(_stop, process)
        _wait(database_url, port, place)
        yield Api(f"http://127.0.0.1:{port}", place / first_key.FILE_NAME)


def _wait(database_url: str, port: int, place: Path) -> None:
    """Wait until the API listens and a worker has looked at the log."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while not (_listens(port) and _projects(database_url)):
        logs = "".join(path.read_text(errors="replace") for path in place.glob("*.log"))
        assert time.monotonic() < deadline, f"not within {START_SECONDS_MAX} s: {logs}"
        time.sleep(0.05)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _projects(database_url: str) -> bool:
    with psycopg.connect(database_url) as connection:
        return bool(connection.execute("SELECT FROM shop.checkpoint WHERE worker IS NOT NULL").rowcount)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
