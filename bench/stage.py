"""What all contenders stand on: one PostgreSQL, one Valkey, and processes that end when we do."""

import contextlib
import os
import shutil
import socket
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql

from bench.process import Process
from service.embedded import PostgresServer, ValkeyServer
from service.migrate import upgrade

ROOT = Path(__file__).resolve().parent.parent


class Stage:
    """Servers with the settings that `orders up` uses: durable, and the same for every contender."""

    def __init__(self, directory: Path | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="orders-bench-", dir=directory))
        # As root the servers run as another user, who must get through.
        self.directory.chmod(0o755)
        self.postgres = PostgresServer(self.directory)
        self.valkey = ValkeyServer(self.directory)
        self._processes: list[Process] = []
        self._redis_databases = 0

    def __enter__(self) -> Self:
        self.postgres.start()
        self.valkey.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self.directory, ignore_errors=True)
            stack.callback(self.postgres.stop)
            stack.callback(self.valkey.stop)
            for process in self._processes:
                stack.callback(process.stop)

    def database(self, name: str, *, migrated: bool = True, template: str = "template0") -> str:
        """Make a database, from nothing or as a copy of another. Returns its libpq URL."""
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
            connection.execute(create.format(sql.Identifier(name), sql.Identifier(template)))
        url = self.postgres.url_of(name)
        if migrated and template == "template0":
            upgrade(url)
        return url

    def drop(self, name: str) -> None:
        """Remove a database, and with it what it takes of the disk."""
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    def redis_url(self) -> str:
        """A Redis database of its own."""
        self._redis_databases = (self._redis_databases + 1) % 16
        return self.valkey.url.removesuffix("0") + str(self._redis_databases)

    def process(self, name: str, command: list[str], environment: dict[str, str]) -> Process:
        """A process that is stopped with the stage, at the latest. Not started yet."""
        inherited = {key: value for key, value in os.environ.items() if not key.startswith(("DATABASE_", "REDIS_"))}
        inherited |= {"PYTHONPATH": str(ROOT), "LOG_LEVEL": "warning"}
        process = Process(name, command, inherited | environment, self.directory)
        self._processes.append(process)
        return process

    def checkpoint(self) -> None:
        """Have PostgreSQL write down what the last run left to be written, so that the next one does not pay for it."""
        execute(self.postgres.url, "CHECKPOINT")


def execute(url: str, statement: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    """Run one statement on a connection of its own. Returns its rows, if it has any."""
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode(), parameters)
        return cursor.fetchall() if cursor.description else []


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
