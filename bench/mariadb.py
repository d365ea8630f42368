"""MySQL and MariaDB for measurements and tests: a server that runs, or a MariaDB of this machine's programs."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Engine, create_engine, make_url
from sqlalchemy.exc import OperationalError

START_SECONDS_MAX = 60
PROGRAMS = ("mariadbd", "mariadb-install-db")
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"


def missing() -> str | None:
    """Why there can be no server; None when there can."""
    lacking = [program for program in PROGRAMS if shutil.which(program, path=_PATH) is None]
    return f"not installed: {', '.join(lacking)} (Debian's mariadb-server)" if lacking else None


class MysqlServer:
    """A server of MySQL or MariaDB that runs. `url` is its administrator's: mysql+pymysql://root@127.0.0.1:3306/."""

    def __init__(self, url: str) -> None:
        self._url = make_url(url).set(drivername="mysql+pymysql")

    def database(self, name: str) -> str:
        """Make an empty database. Returns its URL, with a user that may do everything in it and nothing elsewhere."""
        self._execute(
            f"CREATE DATABASE {name}",
            "CREATE USER IF NOT EXISTS 'reports'@'127.0.0.1' IDENTIFIED BY 'secret'",
            f"GRANT ALL ON {name}.* TO 'reports'@'127.0.0.1'",
        )
        return f"mysql://reports:secret@127.0.0.1:{self._url.port}/{name}"

    def drop(self, name: str) -> None:
        """Remove a database."""
        self._execute(f"DROP DATABASE {name}")

    def _execute(self, *statements: str) -> None:
        engine: Engine = create_engine(self._url)
        try:
            with engine.begin() as connection:
                for statement in statements:
                    connection.exec_driver_sql(statement)
        finally:
            engine.dispose()


class MariaDbServer(MysqlServer):
    """A server of this machine's programs. `durable`: a commit survives a power failure, as by default."""

    def __init__(self, directory: Path, *, durable: bool = False, settings: Sequence[str] = ()) -> None:
        self._directory = directory
        self._durable = durable
        self._settings = settings
        self._log = directory / "mariadb.log"
        self._temporary = directory / "tmp"
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        super().__init__(f"mysql://root@127.0.0.1:{self.port}/")

    def install(self) -> None:
        """Make the data directory. Raises RuntimeError with what the program said."""
        self._temporary.mkdir(exist_ok=True)
        arguments = [*self._common(), "--skip-test-db", "--auth-root-authentication-method=normal"]
        done = subprocess.run([_program("mariadb-install-db"), *arguments], check=False, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"mariadb-install-db made no data directory: {(done.stdout + done.stderr)[:2_000]}")

    def start(self) -> None:
        """Start it, and wait until it answers. Raises RuntimeError."""
        settings = [
            *self._common(),
            f"--socket={self._directory / 'mariadb.sock'}",
            f"--pid-file={self._directory / 'mariadb.pid'}",
            f"--port={self.port}",
            "--bind-address=127.0.0.1",
            "--skip-log-bin",
            # Defaults that a server may well have, and that a mirror must not depend on.
            "--character-set-server=latin1",
            "--sql-mode=",
            "--default-time-zone=+05:00",
            f"--innodb-flush-log-at-trx-commit={int(self._durable)}",
            "--innodb-buffer-pool-size=256M",
            *self._settings,
        ]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([_program("mariadbd"), *settings], stdout=log, stderr=log)
        until = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                self._execute("SELECT 1")
            except OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"MariaDB does not start: {self._log.read_text()[-2_000:]}") from error
                time.sleep(0.1)
            else:
                return

    def kill(self) -> None:
        """End it at once, whatever it does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """End it in order."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def _common(self) -> list[str]:
        # As root the server has to be told that this is meant.
        as_root = ["--user=root"] if os.getuid() == 0 else []
        # A server that starts removes the temporary tables in its directory for them, those of other servers too.
        return ["--no-defaults", f"--datadir={self._directory / 'data'}", f"--tmpdir={self._temporary}", *as_root]


def _program(name: str) -> str:
    found = shutil.which(name, path=_PATH)
    assert found is not None, "`missing` was asked"
    return found
