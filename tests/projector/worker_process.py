"""A worker as it is in production: a process of its own, under Dramatiq."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from tests.builders import wait_until

START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 20


class WorkerProcess:
    """`orders work`, from `with` to its end."""

    def __init__(self, database_url: str, redis_url: str, directory: Path, **variables: str) -> None:
        self._database_url = database_url
        urls = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
        self._environment = {"PATH": os.defpath, "ALLOW_UNSAFE_DATABASE": "1", **urls, **variables}
        self._directory = directory
        self._log = directory / "worker.log"

    def __enter__(self) -> Self:
        before = self._seen()
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "service.cli", "work"],
                env=self._environment,
                cwd=self._directory,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        wait_until(lambda: self._seen() != before, START_SECONDS_MAX, f"a worker that looks, see {self._log}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(STOP_SECONDS_MAX)
        finally:
            self.kill()

    def kill(self) -> None:
        """As kill -9 does, all its processes at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_SECONDS_MAX)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def _seen(self) -> object:
        with psycopg.connect(self._database_url) as connection:
            return connection.execute("SELECT worker, seen_at FROM shop.checkpoint").fetchone()
