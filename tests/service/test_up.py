"""`orders up` as an operator meets it: started, stopped, killed, and told what it cannot have."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from tests.builders import wait_until
from tests.cluster import copy_cluster

READY_SECONDS_MAX = 60
STOP_SECONDS_MAX = 40
SOON_SECONDS_MAX = 8  # orders up waits 10 seconds or more for a process whose end it never learns of
OURS = ("DATABASE_URL", "REDIS_URL", "QUERY_DATABASE_URL", "PORT", "DATA_DIR", "LOG_FORMAT", "LOG_LEVEL")
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in OURS}
# Variables of a machine that are for other servers.
PROXIES = {"ALL_PROXY": "socks5://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
LIBPQ = {
    "PGCHANNELBINDING": "require",
    "PGGSSENCMODE": "require",
    "PGHOSTADDR": "127.0.0.1",
    "PGOPTIONS": "endpoint=ep-1",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGREQUIREPEER": "postgres",
    "PGSERVICE": "gone",
    "PGSSLNEGOTIATION": "direct",
    "PGTARGETSESSIONATTRS": "standby",
}


def orders(*arguments: str) -> list[str]:
    return [sys.executable, "-P", "-m", "service.cli", *arguments]


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        orders(*arguments), cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Up:
    """An `orders up` process, its lines, and all processes that belong to its data directory."""

    def __init__(self, data_dir: Path, port: int, started_by: Sequence[str] = ()) -> None:
        self.data_dir = data_dir
        self.port = port
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [*started_by, *orders("up", "--data-dir", str(data_dir), "--port", str(port))],
            cwd=data_dir.parent,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(self.process.stdout)

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def health(self) -> int:
        try:
            with urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code
        except (URLError, OSError):
            return 0

    def wait_until_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.output
            return "ready: " in self.output

        wait_until(ready, READY_SECONDS_MAX, f"ready; it said {self.output}")

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        code = self.process.wait(STOP_SECONDS_MAX)
        self._reader.join(STOP_SECONDS_MAX)
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.stop(signal.SIGTERM)
        wait_until(lambda: not self.processes(), STOP_SECONDS_MAX, "nothing is left")
        self._reader.join(STOP_SECONDS_MAX)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def processes(self) -> list[int]:
        """Every process that holds a lock of the data directory open: the supervisor's and all its children's."""
        return [pid for pid in all_pids() if self._is_ours(pid)]

    def running(self, command: str) -> list[int]:
        return [pid for pid in all_pids() if command in command_line(pid) and self._is_ours(pid)]

    def _is_ours(self, pid: int) -> bool:
        locks = str(self.data_dir / "locks")
        return any(target.startswith(locks) for target in open_files(pid))


def all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def open_files(pid: int) -> list[str]:
    found = []
    with contextlib.suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.append(str(descriptor.readlink()))
    return found


def command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    return ""


@pytest.fixture
def start(place: Path) -> Iterator[Callable[..., Up]]:
    """Start `orders up`, always on the same directory and port. The database is there, as from an earlier start.

    The function takes the words of a command that starts the command behind it.
    """
    started: list[Up] = []
    port = free_port()
    copy_cluster(place / "my data")

    def start_one(*started_by: str) -> Up:
        started.append(Up(place / "my data", port, started_by))
        return started[-1]

    yield start_one
    for up in reversed(started):
        up.close()


def test_it_serves_and_says_where_and_ctrl_c_leaves_the_data_and_no_process(
    start: Callable[..., Up], place: Path
) -> None:
    shutil.rmtree(place / "my data")
    up = start()
    up.wait_until_ready()
    assert up.health() == 200
    assert f"http://127.0.0.1:{up.port}" in up.output
    assert re.search(r"^REDIS_URL=redis://127\.0\.0\.1:\d+/0$", up.output, re.MULTILINE)
    database_url = re.search(r"^DATABASE_URL=(postgresql://\S+)$", up.output, re.MULTILINE)
    assert database_url is not None
    assert "&" not in database_url.group(1)  # safe to paste into a shell
    # The other commands find the servers without being told.
    migrated = run("migrate", "--data-dir", str(up.data_dir), cwd=up.data_dir.parent)
    assert (migrated.returncode, migrated.stderr) == (0, "")
    assert len(up.processes()) >= 5

    assert up.stop(signal.SIGINT) == 0
    assert up.processes() == []
    assert "Traceback" not in up.output
    assert (up.data_dir / "postgres" / "PG_VERSION").read_text() == "18\n"
    log = (up.data_dir / "postgres.log").read_text()
    assert "database system is shut down" in log


@pytest.mark.parametrize("variables", [PROXIES, LIBPQ], ids=["proxies", "libpq"])
def test_variables_for_other_servers_make_no_difference(
    variables: dict[str, str], start: Callable[..., Up], monkeypatch: pytest.MonkeyPatch
) -> None:
    for proxies in ("NO_PROXY", "no_proxy"):
        monkeypatch.delitem(ENVIRONMENT, proxies, raising=False)
    for name, value in variables.items():
        monkeypatch.setitem(ENVIRONMENT, name, value)
    up = start()
    up.wait_until_ready()
    status = run("status", "--data-dir", str(up.data_dir), cwd=up.data_dir.parent)
    assert (status.returncode, status.stderr) == (0, "")


def test_a_second_ctrl_c_is_harmless(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_until_ready()
    for _ in range(5):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(up.process.pid, signal.SIGINT)
        time.sleep(0.1)
    assert up.process.wait(STOP_SECONDS_MAX) == 0
    assert up.processes() == []
    assert "database system is shut down" in (up.data_dir / "postgres.log").read_text()


def test_it_stops_at_once_under_a_parent_that_ignores_the_end_of_its_children(start: Callable[..., Up]) -> None:
    up = start("env", "--ignore-signal=CHLD")
    up.wait_until_ready()
    began = time.monotonic()
    assert up.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < SOON_SECONDS_MAX, up.output


def test_after_a_kill_it_starts_again_at_once_on_the_same_data_and_port(start: Callable[..., Up]) -> None:
    first = start()
    first.wait_until_ready()
    first.process.kill()
    first.process.wait()
    second = start()
    second.wait_until_ready()
    assert second.health() == 200
    assert second.stop(signal.SIGTERM) == 0
    assert second.processes() == []


def test_a_taken_port_is_one_line_and_nothing_stays(place: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run("up", "--port", str(port), "--data-dir", str(place / "data"), cwd=place)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"orders: port {port} of 127.0.0.1 is taken: stop what uses it, or choose another --port"
    ]
    assert not (place / "data").exists()


def test_an_unwritable_data_directory_is_one_line(place: Path, unwritable: Path) -> None:
    done = run("up", "--port", str(free_port()), "--data-dir", str(unwritable / "data"), cwd=place)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert f"cannot use {unwritable / 'data'}" in done.stderr


def test_a_second_up_on_the_same_data_is_refused_and_does_not_disturb_the_first(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_until_ready()
    done = run("up", "--port", str(free_port()), "--data-dir", str(up.data_dir), cwd=up.data_dir.parent)
    assert done.returncode == 1
    assert re.fullmatch(rf"orders: .* is in use by another `orders up` \(process {up.process.pid}\).*\n", done.stderr)
    assert up.health() == 200


def test_whatever_is_killed_is_started_again(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_until_ready()
    for command in ("service.cli serve", "dramatiq", "bin/postgres -D", "valkey-server"):
        # The oldest: dramatiq's parent; the postmaster.
        kill_and_wait_until_it_runs_again(up, command, min(up.running(command)))
    # Its worker, which it does not survive.
    kill_and_wait_until_it_runs_again(up, "dramatiq", max(up.running("dramatiq")))


def kill_and_wait_until_it_runs_again(up: Up, command: str, pid: int) -> None:
    deaths = up.output.count("died, starting it again")

    def another_runs() -> bool:
        running = up.running(command)
        return bool(running) and pid not in running

    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: up.output.count("died, starting it again") > deaths, READY_SECONDS_MAX, "seen")
    wait_until(another_runs, READY_SECONDS_MAX, f"{command} started again")
    wait_until(lambda: up.health() == 200, READY_SECONDS_MAX, "healthy again")


def test_a_child_that_dies_repeatedly_ends_orders_up_with_1(start: Callable[..., Up]) -> None:
    up = start()
    up.wait_until_ready()

    def gave_up() -> bool:
        for pid in up.running("service.cli serve"):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return up.process.poll() is not None

    wait_until(gave_up, STOP_SECONDS_MAX, "gives up")
    assert up.process.returncode == 1
    assert up.processes() == []
    assert up.lines[-1].startswith("orders: api died 5 times in 60 s")


def test_commands_without_servers_say_so_in_one_line(place: Path) -> None:
    for command in ("serve", "work", "migrate"):
        done = run(command, cwd=place)
        assert done.returncode == 1
        assert done.stderr == (
            "orders: no `orders up` runs on data: start it, name its --data-dir, or set DATABASE_URL and REDIS_URL\n"
        )


def test_a_file_left_by_a_killed_up_is_not_believed(place: Path) -> None:
    (place / "data" / "locks").mkdir(parents=True)
    (place / "data" / "locks" / "postgres.owner").write_text(f"{os.getpid()}\n")
    urls = {"database_url": "postgresql://nowhere.invalid/x", "redis_url": "redis://nowhere.invalid/0"}
    (place / "data" / "up.json").write_text(json.dumps(urls))
    done = run("migrate", cwd=place)
    assert done.returncode == 1
    assert "no `orders up` runs" in done.stderr
