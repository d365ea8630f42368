"""MariaDB for tests: the machine's programs, on a directory and a port of its own."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pymysql

START_SECONDS_MAX = 60
PROGRAMS = ("mariadbd", "mariadb-install-db")


def missing() -> str | None:
    """Why there can be no server; None when it can."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    lacking = [program for program in PROGRAMS if shutil.which(program, path=path) is None]
    return f"{', '.join(lacking)} is not installed (Debian's mariadb-server)" if lacking else None


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    assert found is not None
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class MariaDbServer:
    """One server; `durable` as production has it, or fast for tests."""

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        self.directory = directory
        self.port = free_port()
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._log = directory / "mariadb.log"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def install(self) -> None:
        """Make the data directory."""
        arguments = ["--no-defaults", f"--datadir={self.directory / 'data'}", "--skip-test-db", *self._user()]
        arguments += ["--auth-root-authentication-method=normal"]
        subprocess.run([program("mariadb-install-db"), *arguments], check=True, capture_output=True)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = [
            "--no-defaults",
            f"--datadir={self.directory / 'data'}",
            f"--socket={self.directory / 'mariadb.sock'}",
            f"--pid-file={self.directory / 'mariadb.pid'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-log-bin",
            # What a server may well have: the mirror must not depend on it.
            "--character-set-server=latin1",
            "--sql-mode=",
            "--default-time-zone=+05:00",
            f"--innodb-flush-log-at-trx-commit={1 if self._durable else 0}",
            "--innodb-buffer-pool-size=256M",
            *self._user(),
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([program("mariadbd"), *settings], stdout=log, stderr=log)
        until = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                self.connect().close()
            except pymysql.err.OperationalError:
                assert self._process.poll() is None, self._log.read_text()[-2_000:]
                assert time.monotonic() < until, self._log.read_text()[-2_000:]
                time.sleep(0.1)
            else:
                return

    def connect(self) -> pymysql.Connection:
        return pymysql.connect(host="127.0.0.1", port=self.port, user="root", autocommit=True, charset="utf8mb4")

    def database(self, name: str) -> str:
        """Make an empty database, with a user of its own; its URL."""
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"CREATE DATABASE {name}")
            cursor.execute("CREATE USER IF NOT EXISTS 'reports'@'127.0.0.1' IDENTIFIED BY 'secret'")
            cursor.execute(f"GRANT ALL ON {name}.* TO 'reports'@'127.0.0.1'")
        return f"mysql://reports:secret@127.0.0.1:{self.port}/{name}"

    def drop(self, name: str) -> None:
        with self.connect() as connection, connection.cursor() as cursor:
            cursor.execute(f"DROP DATABASE {name}")

    def kill(self) -> None:
        """End it as a power failure would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def _user(self) -> list[str]:
        """As root the server needs to be told that this is meant."""
        return ["--user=root"] if os.getuid() == 0 else []
