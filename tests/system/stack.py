"""The whole service as it is in production: a durable PostgreSQL, a Valkey, API and worker processes, all our own.

Everything can be killed, stopped and started again, one by one. Nothing here is fast for tests: fsync is on.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg

from service.embedded import PostgresServer, ValkeyServer
from service.embedded.server import EmbeddedServer
from tests.builders import wait_until
from tests.cluster import copy_cluster

# The processes are of the same tree as the tests, whatever is installed.
SURROUNDINGS = {"PATH": os.defpath, "PYTHONPATH": str(Path(__file__).parents[2]), "NO_AUTH": "1", "ALLOWED_HOSTS": "*"}
START_SECONDS_MAX = 60
STOP_SECONDS_MAX = 20


class ServiceProcess:
    """`orders <arguments>` in a session of its own, with its output in a file."""

    def __init__(self, name: str, arguments: list[str], environment: dict[str, str], directory: Path) -> None:
        self.name = name
        self.environment = SURROUNDINGS | environment
        self.log_path = directory / f"{name}.log"
        self._arguments = arguments
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, for the first time or again; does not wait for anything."""
        assert not self.is_alive()
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "service.cli", *self._arguments],
                env=self.environment,
                cwd=self._directory,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """The leader of its process group: signals to all of it go to -pid."""
        assert self._process is not None
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        """To all its processes at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def kill(self) -> None:
        """As kill -9 does, all its processes at once."""
        self.signal(signal.SIGKILL)
        self.wait()

    def terminate(self) -> None:
        """Send SIGTERM to the one that was started, as a supervisor does; does not wait."""
        assert self._process is not None
        self._process.terminate()

    def wait(self, seconds: float = STOP_SECONDS_MAX) -> int:
        """Wait for its end; returns the exit code. Raises subprocess.TimeoutExpired."""
        assert self._process is not None
        return self._process.wait(seconds)

    def stop(self) -> None:
        """SIGTERM, and in the end by force."""
        if self._process is None:
            return
        self.signal(signal.SIGCONT)  # one that was paused
        if self.is_alive():
            self.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait()
        self.kill()

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")


class Stack:
    """PostgreSQL, Valkey, `apis` processes of `orders serve` (each on its port) and `workers` of `orders work`.

    `with Stack(...) as stack` has all of it ready. `environment` is added to that of APIs and workers; `settings` are
    PostgreSQL's.
    """

    def __init__(
        self,
        directory: Path,
        *,
        apis: int = 1,
        workers: int = 1,
        settings: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.postgres = PostgresServer(directory / "data", settings)
        self.valkey = ValkeyServer(directory / "data")
        self._environment = dict(environment or {})
        self._ports = [free_port() for _ in range(apis)]
        self._workers = workers
        self.apis: list[ServiceProcess] = []
        self.workers: list[ServiceProcess] = []

    def __enter__(self) -> Self:
        try:
            # As root the servers run as another user, who must get through.
            for parent in (self.directory, *self.directory.parents):
                with contextlib.suppress(PermissionError):
                    parent.chmod(parent.stat().st_mode | 0o011)
            copy_cluster(self.postgres.data_dir)
            self.postgres.start()
            self.valkey.start()
            for number, port in enumerate(self._ports):
                self.apis.append(self.service(f"api-{number}", "serve", "--port", str(port)))
            for number in range(self._workers):
                self.workers.append(self.service(f"worker-{number}", "work"))
            for process in (*self.apis, *self.workers):
                process.start()
            self.wait_until_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        for process in (*self.apis, *self.workers):
            process.stop()
        self.valkey.stop()
        self.postgres.stop()

    @property
    def database_url(self) -> str:
        return self.postgres.url

    @property
    def redis_url(self) -> str:
        return self.valkey.url

    @property
    def urls(self) -> list[str]:
        """Where the APIs are, e.g. http://127.0.0.1:8000."""
        return [f"http://127.0.0.1:{port}" for port in self._ports]

    def crash(self, server: EmbeddedServer, number: signal.Signals = signal.SIGKILL) -> None:
        """End a server with all its processes at once; `server.start()` finds what that has left.

        SIGKILL is as near as one gets to a power cut without a disk that forgets. PostgreSQL's immediate shutdown is
        SIGQUIT, which it hands on by itself.
        """
        leader = server.pid
        children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
        os.kill(leader, number)
        for child in children if number is signal.SIGKILL else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), number)
        wait_until(lambda: not server.is_alive(), STOP_SECONDS_MAX, f"the end of {server.title}")

    def service(self, name: str, *arguments: str, **environment: str) -> ServiceProcess:
        """Another `orders` process on these servers, not started."""
        urls = {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url}
        return ServiceProcess(name, list(arguments), urls | self._environment | environment, self.directory)

    def run(self, *arguments: str, seconds: float = 120) -> subprocess.CompletedProcess[str]:
        """Run an `orders` command to its end."""
        urls = {"DATABASE_URL": self.database_url, "REDIS_URL": self.redis_url}
        return subprocess.run(
            [sys.executable, "-P", "-m", "service.cli", *arguments],
            env=SURROUNDINGS | urls | self._environment,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def rows(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    def lag(self) -> int:
        """How many events there are still to project."""
        ((lag,),) = self.rows("SELECT head.position - checkpoint.position FROM log.head, shop.checkpoint")
        return int(str(lag))

    def wait_until_ready(self, seconds: float = START_SECONDS_MAX) -> None:
        """Until every API answers /healthz, and if there are workers, says that it is ready."""
        path = "/readyz" if self.workers else "/healthz"
        for url in self.urls:
            wait_until(lambda url=url: answers(url + path), seconds, f"an API that is ready, see {self.directory}")  # type: ignore[misc]

    def wait_until_caught_up(self, seconds: float = 10) -> float:
        """Until nothing is left to project; returns how long that took."""
        started = time.monotonic()
        wait_until(lambda: self.lag() == 0, seconds, f"caught up, see {self.directory}")
        return time.monotonic() - started


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    # Asked a hundred times a second: httpx would read all certificates of this machine each time.
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310
        return bool(answer.status == 200)
    return False


def free_port() -> int:
    """A port that nobody listens on, to be taken soon."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
