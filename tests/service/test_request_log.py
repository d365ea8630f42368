"""The lines of requests are written many at a time, in order with all other lines, and to the last one."""

import asyncio
import contextlib
import io
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from contract.observation import Observation
from service.http.request_log import HELD_LINES_MAX, HELD_SECONDS_MAX, RequestLog

PROGRAM = """
import asyncio, logging
from contract.observation import Observation
from service.http.request_log import RequestLog

log = RequestLog("text")

async def answer(name, status):
    logging.getLogger("request").setLevel("INFO")
    log.write({"method": "GET", "raw_path": b"/orders"}, "/orders", 0.001, Observation(name, status))

asyncio.run(answer(b"error", 500))
asyncio.run(answer(b"last", 200))
print("answered")
raise SystemExit(7)
"""


MANY = """
import asyncio, logging, sys
from contract.observation import Observation
from service.http.request_log import RequestLog

async def answer(log, lines):
    logging.getLogger("request").setLevel("INFO")
    for number in range(lines):
        log.write({"method": "GET", "raw_path": b"/orders"}, "/orders", 0.001, Observation(b"%d" % number, 200))

asyncio.run(answer(RequestLog(sys.argv[1]), int(sys.argv[2])))
"""
LINES = 3_000


@pytest.fixture(autouse=True)
def _lines_of_all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@contextlib.contextmanager
def written_by_others(to: io.StringIO) -> Iterator[None]:
    """Have the lines of all other loggers written to the same place."""
    handler = logging.StreamHandler(to)
    logging.getLogger().addHandler(handler)
    yield
    logging.getLogger().removeHandler(handler)


def answer(log: RequestLog, name: str, status: int = 200) -> None:
    scope = {"method": "GET", "raw_path": b"/orders"}
    log.write(scope, "/orders", 0.001, Observation(name.encode(), status))


def names(stderr: io.StringIO) -> list[str]:
    return [line.rpartition("[")[2].rstrip("]") for line in stderr.getvalue().splitlines()]


def test_lines_are_written_together_a_moment_later() -> None:
    async def requests(stderr: io.StringIO) -> None:
        log = RequestLog("text")
        answer(log, "first")
        answer(log, "second")
        assert not stderr.getvalue()
        await asyncio.sleep(2 * HELD_SECONDS_MAX)
        assert names(stderr) == ["first", "second"]
        answer(log, "third")
        await asyncio.sleep(2 * HELD_SECONDS_MAX)
        assert names(stderr) == ["first", "second", "third"]

    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        asyncio.run(requests(stderr))


def test_many_lines_are_written_at_once() -> None:
    async def requests(stderr: io.StringIO) -> None:
        log = RequestLog("json")
        for number in range(HELD_LINES_MAX + 1):
            answer(log, str(number))
        assert stderr.getvalue().count("\n") == HELD_LINES_MAX

    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        asyncio.run(requests(stderr))


def test_a_line_has_the_time_at_which_its_request_ended() -> None:
    async def requests(stderr: io.StringIO) -> None:
        log = RequestLog("json")
        ended = []
        for name in ("first", "second"):
            answer(log, name)
            ended.append(datetime.now(UTC))
            time.sleep(0.02)  # noqa: ASYNC251 - the event loop must not write meanwhile
        log.flush()
        times = [datetime.fromisoformat(json.loads(line)["time"]) for line in stderr.getvalue().splitlines()]
        for shown, real in zip(times, ended, strict=True):
            assert timedelta() <= real - shown < timedelta(seconds=0.015)

    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        asyncio.run(requests(stderr))


@pytest.mark.parametrize("status", [500, 503])
def test_an_error_is_logged_at_once_after_earlier_lines(status: int) -> None:
    async def requests(stderr: io.StringIO) -> None:
        log = RequestLog("text")
        answer(log, "before")
        answer(log, "error", status)
        assert names(stderr) == ["before", "error"]

    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        asyncio.run(requests(stderr))


def test_a_line_of_another_logger_stands_after_the_requests_before_it() -> None:
    async def requests(stderr: io.StringIO) -> None:
        log = RequestLog("text")
        with written_by_others(stderr), log.running():
            answer(log, "before")
            await asyncio.to_thread(logging.getLogger("command.writer").warning, "the database is away")
            answer(log, "after")
        logging.getLogger("command.writer").warning("stopped")
        assert names(stderr) == ["before", "the database is away", "after"]

    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        asyncio.run(requests(stderr))


def test_the_last_line_is_written_at_the_end_of_the_process() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 7
    assert "GET /orders 200 1.0 ms [last]" in done.stderr


def test_a_full_disk_fails_no_request() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, stderr=full, check=False)
    assert done.stdout == b"answered\n"


@pytest.mark.parametrize(
    ("log_format", "line"),
    [("json", rb'\{"time":"[^"]+","level":"info","logger":"request","request_id":"(\d+)",[^{}]+\}'),
     ("text", rb"\S+ \S+ INFO    request: GET /orders 200 1\.0 ms \[(\d+)\]")],
)  # fmt: skip
def test_lines_of_two_processes_that_share_a_pipe_do_not_mix(log_format: str, line: bytes) -> None:
    shared, end = os.pipe()
    command = [sys.executable, "-c", MANY, log_format, str(LINES)]
    running = [subprocess.Popen(command, stderr=end) for _ in range(2)]
    os.close(end)
    time.sleep(1)  # by then both processes have filled the pipe, and wait for its reader
    with os.fdopen(shared, "rb") as pipe:
        found = [re.fullmatch(line, it) for it in pipe.read().splitlines()]
    for process in running:
        assert process.wait(10) == 0
    assert sorted(int(it[1]) for it in found if it) == sorted([*range(LINES), *range(LINES)])
    assert None not in found
