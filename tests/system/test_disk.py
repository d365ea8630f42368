"""A disk that fails, and one that is full: what was acknowledged is durable, what was not is answered honestly.

PostgreSQL may die of it. Then this test starts it again, as a supervisor does, and API and worker go on by themselves.
"""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from eventlog.ids import new_id
from service.embedded.account import account_for
from service.health.writes import LOOK_EVERY_SECONDS
from tests import loopback
from tests.builders import wait_until
from tests.chance import chosen_seed
from tests.checker.check import assert_nothing_wrong
from tests.checker.history import Attempt, Outcome
from tests.cluster import copy_cluster
from tests.system.buyers import Buyers
from tests.system.stack import START_SECONDS_MAX, SURROUNDINGS, Stack, free_port

GOES_ON_SECONDS_MAX = 30
ATTACH_SECONDS_MAX = 10
PAUSE_SECONDS = 0.02
FULL_SECONDS = 1
DISK_BYTES = 160 * 1024**2
WAL = {"max_wal_size": "32MB", "min_wal_size": "32MB"}
# With less, PostgreSQL cannot write on in a segment of its write-ahead log.
FILE_BYTES_MAX = 1024**2
# The answers to a command while the disk fails: not done, outcome unknown, or not tried.
HONEST = {"unavailable", "outcome-unknown", "overloaded"}


def failed(buyers: Buyers) -> list[Attempt]:
    """The attempts that were not answered with success."""
    commands = list(buyers.history.commands.values())
    return [it for command in commands for it in list(command.attempts) if it.outcome is not Outcome.ACKNOWLEDGED]


def goes_on(stack: Stack, buyers: Buyers) -> None:
    """PostgreSQL runs, and orders are taken again."""
    before = buyers.acknowledged

    def bought() -> bool:
        if not stack.postgres.is_alive():
            stack.postgres.start()
        return buyers.acknowledged > before + 10

    wait_until(bought, GOES_ON_SECONDS_MAX, f"orders are taken again, see {stack.directory}")


def wait_until_refused(buyers: Buyers) -> None:
    before = len(failed(buyers))
    wait_until(lambda: len(failed(buyers)) > before + 5, GOES_ON_SECONDS_MAX, "orders to be refused")


def wrongly_denied(buyers: Buyers) -> list[str]:
    """The commands that were done by an attempt that was told that nothing was done."""
    found = []
    for command in buyers.history.commands.values():
        outcomes = [it.outcome for it in command.attempts]
        replayed = [it.headers.get("idempotency-replayed") == "true" for it in command.attempts]
        if any(replayed) and set(outcomes[: replayed.index(True)]) == {Outcome.REJECTED}:
            found.append(f"{command}: {[(it.status, it.code) for it in command.attempts]}")
    return found


def judge(stack: Stack, buyers: Buyers) -> None:
    """All was answered honestly, and all is as it was answered."""
    dishonest = [(it.status, it.code) for it in failed(buyers) if it.code not in HONEST]
    assert not dishonest
    assert not wrongly_denied(buyers)
    stack.wait_until_caught_up()
    assert_nothing_wrong(stack.database_url, buyers.history)


@contextlib.contextmanager
def failing_sync(process: int, call: int) -> Iterator[None]:
    """Make the process's `call`-th fsync from now on return an error."""
    if shutil.which("strace") is None:
        pytest.skip("strace, which makes fsync fail, is not installed: apt-get install strace")
    sync = "fsync,fdatasync,sync_file_range"
    command = [
        "strace",
        "-o",
        os.devnull,
        "-e",
        f"trace={sync}",
        "-e",
        f"inject={sync}:error=EIO:when={call}",
        "-p",
        str(process),
    ]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    try:
        if "attached" not in tracer.stderr.readline():
            pytest.skip("strace may not attach: run as root, or set kernel.yama.ptrace_scope to 0")
        yield
    finally:
        tracer.send_signal(signal.SIGINT)  # lets the process go
        tracer.communicate(timeout=ATTACH_SECONDS_MAX)


def backend(stack: Stack, condition: str) -> int:
    ((process,),) = stack.rows(f"SELECT min(pid) FROM pg_stat_activity WHERE {condition}")
    return int(str(process))


WRITER = "backend_type = 'client backend' AND application_name = 'orders writer' AND pid <> pg_backend_pid()"
CHECKPOINTER = "backend_type = 'checkpointer'"


def test_an_error_of_the_disk_loses_nothing_and_repeats_nothing(tmp_path: Path, is_long: bool) -> None:
    """At a COMMIT, which may be durable all the same, and at a checkpoint. PostgreSQL panics and recovers."""
    seed = chosen_seed()
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    with Stack(tmp_path) as stack:
        with Buyers(stack.urls, seed, pause=PAUSE_SECONDS) as buyers:
            for _ in range(10 if is_long else 1):
                goes_on(stack, buyers)
                with failing_sync(backend(stack, WRITER), chance.randint(1, 20)):
                    wait_for_panic(stack)
                goes_on(stack, buyers)
                with failing_sync(backend(stack, CHECKPOINTER), chance.randint(1, 5)):
                    with contextlib.suppress(psycopg.Error):
                        stack.rows("CHECKPOINT")
                    wait_for_panic(stack)
            goes_on(stack, buyers)
        judge(stack, buyers)


def wait_for_panic(stack: Stack) -> None:
    """Wait until PostgreSQL has found out, and forget what it said."""
    log = stack.postgres.log_path
    wait_until(lambda: b"PANIC:" in log.read_bytes(), GOES_ON_SECONDS_MAX, "a panic")
    log.write_bytes(b"")


@contextlib.contextmanager
def full_disk(stack: Stack) -> Iterator[None]:
    """No byte is left, neither for tables nor for the write-ahead log."""
    ballast = stack.postgres.data_dir / "ballast"
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (1024**2, 4096):
            with contextlib.suppress(OSError):
                while file.write(bytes(size)) == size:
                    pass
    assert shutil.disk_usage(ballast).free < 4096
    try:
        yield
    finally:
        ballast.unlink()


@contextlib.contextmanager
def no_large_files(stack: Stack) -> Iterator[None]:
    """No file grows beyond some size, as if a quota were used up. PostgreSQL does not survive that."""
    if shutil.which("prlimit") is None:
        pytest.skip("prlimit, which sets the limit, is not installed: apt-get install util-linux")
    limit_files(stack, FILE_BYTES_MAX)
    try:
        yield
    finally:
        limit_files(stack, "unlimited")


def limit_files(stack: Stack, size: int | str) -> None:
    """For all processes of PostgreSQL, and those to come."""
    if not stack.postgres.is_alive():
        return  # the next one has our own limits
    server = stack.postgres.pid
    user, group = account_for(stack.postgres.directory).user or (None, None)
    for process in (str(server), *Path(f"/proc/{server}/task/{server}/children").read_text().split()):
        # As the user whose processes they are: root may not everywhere. One may have ended meanwhile.
        command = ["prlimit", "--pid", process, f"--fsize={size}:"]
        subprocess.run(
            command, capture_output=True, user=user, group=group, extra_groups=[] if user else None, check=False
        )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory whose data is on a file system of its own."""
    data = tmp_path / "data"
    data.mkdir()
    with mounted(data, DISK_BYTES):
        yield tmp_path


@contextlib.contextmanager
def mounted(directory: Path, size: int) -> Iterator[None]:
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "orders-test", str(directory)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small disk cannot be mounted here: run as root, with the right to mount ({error})")
    try:
        yield
    finally:
        subprocess.run(["umount", str(directory)], check=True)


# There is room for nothing, for a part of the cluster, and for the cluster alone.
@pytest.mark.parametrize("size", [4096, 8 * 1024**2, 30 * 1024**2, 40 * 1024**2])
def test_orders_up_on_a_full_disk_names_the_remedy(size: int, tmp_path: Path) -> None:
    with mounted(tmp_path, size):
        started = start_up(tmp_path / "data")
    assert_full(started)


def test_up_says_that_the_disk_became_full(tmp_path: Path) -> None:
    with mounted(tmp_path, DISK_BYTES):
        data = tmp_path / "data"
        copy_cluster(data)
        ballast = data / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while file.write(bytes(4096)):
                pass
        started = start_up(data)
    assert_full(started)


def assert_full(started: subprocess.CompletedProcess[str]) -> None:
    *earlier, last = started.stderr.splitlines()
    assert started.returncode == 1
    assert all("for passing through" in line for line in earlier), started.stderr
    assert last.startswith("orders: ")
    assert "No space left on device" in last
    assert "make room on the disk" in last


def start_up(data: Path) -> subprocess.CompletedProcess[str]:
    """`orders up` on a data directory, which is expected to end by itself."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "service.cli", "up", "--port", str(free_port()), "--data-dir", str(data)],
        env=SURROUNDINGS,
        capture_output=True,
        text=True,
        timeout=START_SECONDS_MAX,
        check=False,
    )


def test_a_full_disk_refuses_honestly_and_space_is_all_that_it_takes(small_disk: Path, is_long: bool) -> None:
    """Reads go on all the while."""
    out_of_room_again_and_again(small_disk, full_disk, {200}, " is full\n", 5 if is_long else 1)


def test_readyz_tells_of_a_full_disk_until_there_is_room_also_while_no_command_comes(small_disk: Path) -> None:
    def degraded() -> list[str]:
        return list(loopback.get(f"{stack.urls[0]}/readyz").json()["degraded"])

    def register() -> int:
        body = {"name": "Ada", "email": f"{new_id()}@example.org"}
        return loopback.post(f"{stack.urls[0]}/users", json=body, timeout=GOES_ON_SECONDS_MAX).status_code

    with Stack(small_disk, settings=WAL) as stack:
        assert register() == 201
        with full_disk(stack):
            wait_until(lambda: register() == 503, GOES_ON_SECONDS_MAX, "a command to be refused")
            until = time.monotonic() + 1.5 * LOOK_EVERY_SECONDS
            while time.monotonic() < until:
                assert "commands" in degraded()
                time.sleep(0.2)  # the next look comes within this time
        wait_until(lambda: "commands" not in degraded(), GOES_ON_SECONDS_MAX, "the end of that trouble")
        assert register() == 201


def test_a_quota_that_is_used_up_loses_nothing(tmp_path: Path, is_long: bool) -> None:
    """PostgreSQL dies of it, and cannot recover before there is room. Needs no root, as a small disk does."""
    if not is_long and os.geteuid() == 0:
        pytest.skip("the small disk has shown the same: --long")
    out_of_room_again_and_again(tmp_path, no_large_files, {200, 503}, "", 5 if is_long else 1)


def out_of_room_again_and_again(
    directory: Path,
    no_room: Callable[[Stack], contextlib.AbstractContextManager[None]],
    reads: set[int],
    status: str,
    times: int,
) -> None:
    """`reads`: the statuses that a GET may have meanwhile. `status`: a sentence that `orders status` prints then."""
    seed = chosen_seed()
    with Stack(directory, settings=WAL) as stack:
        with Buyers(stack.urls, seed, pause=PAUSE_SECONDS) as buyers:
            for _ in range(times):
                goes_on(stack, buyers)
                with no_room(stack):
                    wait_until_refused(buyers)
                    assert loopback.get(f"{stack.urls[0]}/orders").status_code in reads
                    assert status in stack.run("status").stdout
                    time.sleep(FULL_SECONDS)
                goes_on(stack, buyers)
        judge(stack, buyers)
