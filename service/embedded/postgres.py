"""An embedded PostgreSQL 18: durable, with checksums, on a unix socket of its own."""

import hashlib
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from database.sessions import connect
from service.embedded.account import Account
from service.embedded.programs import postgres_program
from service.embedded.server import EmbeddedServer, with_remedy, works_in
from service.errors import OperatorError
from service.lifeline import tied

USER = "orders"
DATABASE = "orders"
PORT = 5432  # only a part of the socket's name, unless `settings` make the server listen
SOCKET_PATH_BYTES_MAX = 107  # sun_path of sockaddr_un on Linux, without the closing NUL
MAJOR_VERSION = "18"
READY_LINE = 7  # of postmaster.pid, counted from 0 (PostgreSQL: src/include/utils/pidfile.h)

# Durability (fsync, synchronous_commit, full_page_writes) is PostgreSQL's default and stays as it is.
SETTINGS = {
    "cluster_name": "orders",
    "listen_addresses": "",
    "log_line_prefix": "%m [%p] ",
    "log_timezone": "UTC",
    "max_connections": "100",
    "port": str(PORT),
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "unix_socket_permissions": "0700",
}


class PostgresServer(EmbeddedServer):
    """PostgreSQL on `<data_dir>/postgres`, with a database and a superuser both called orders.

    settings are further `-c` settings for this start, e.g. {"fsync": "off"}; they win over ours.
    """

    name = "postgres"
    title = "PostgreSQL"
    # Fast shutdown; immediate shutdown, which recovers at the next start; the kernel's kill, which also does.
    stop_signals: ClassVar = [(signal.SIGINT, 30), (signal.SIGQUIT, 10), (signal.SIGKILL, 5)]

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(data_dir)
        self.settings = SETTINGS | dict(settings or {})

    @property
    def url(self) -> str:
        """A libpq URL, for psql, psycopg and SQLAlchemy (there with postgresql+psycopg:// in front)."""
        return self.url_of(DATABASE)

    def url_of(self, database: str) -> str:
        host = quote(str(self.socket_dir), safe="")
        return f"postgresql://{USER}@/{quote(database, safe='')}?host={host}&port={self.settings['port']}"

    @property
    def socket_dir(self) -> Path:
        """The data directory itself, which only its owner may enter.

        A private one in /tmp when the path is too long for a socket, or has a comma, which libpq takes for a list.
        """
        path = os.fsencode(self.directory / f".s.PGSQL.{self.settings['port']}")
        if len(path) <= SOCKET_PATH_BYTES_MAX and b"," not in path:
            return self.directory
        return Path("/tmp") / f"orders-{hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:16]}"  # noqa: S108

    def _prepare(self, account: Account) -> None:
        for path in (postgres_program("postgres"), self.directory):
            account.reach(path)
        if not self.directory.exists():
            self._initialise(account)
        self._check_version()
        account.own(self.directory)
        if self.socket_dir != self.directory:
            _make_private(self.socket_dir, account)
        self._forget_reused_pid()

    def _initialise(self, account: Account) -> None:
        """Make the cluster beside its place and move it there when it is whole: a crash leaves no half of one."""
        unfinished = self.directory.with_suffix(".unfinished")
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        account.own(unfinished)
        arguments = ["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--data-checksums"]
        initdb = [str(postgres_program("initdb")), "--pgdata", str(unfinished), *arguments]
        done = subprocess.run(
            tied(initdb, signal.SIGTERM, account.user),
            capture_output=True,
            text=True,
            errors="replace",
            cwd="/",
            env={"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"},
            check=False,
            start_new_session=True,
        )
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if "error" in line.lower()] or done.stderr.splitlines()
            why = with_remedy(said[0]) if said else f"exit code {done.returncode}"
            raise OperatorError(f"initdb failed on {unfinished}: {why}")
        unfinished.rename(self.directory)
        _sync(self.data_dir)

    def _check_version(self) -> None:
        """Raise OperatorError for what PostgreSQL cannot open: a cluster of another major version, or no cluster."""
        try:
            version = (self.directory / "PG_VERSION").read_text(errors="replace").strip()
        except FileNotFoundError:
            version = ""
        if not version:
            raise OperatorError(
                f"{self.directory} holds no data of PostgreSQL (PG_VERSION is missing or empty): "
                "restore it from a backup, or name another --data-dir"
            )
        if version != MAJOR_VERSION:
            raise OperatorError(
                f"{self.directory} holds data of PostgreSQL {version}, "
                f"but `orders up` runs PostgreSQL {MAJOR_VERSION}: "
                "dump it with the release that made it and restore it into another --data-dir, or use pg_upgrade"
            )

    def _forget_reused_pid(self) -> None:
        """Remove a postmaster.pid whose process id now belongs to something else, which PostgreSQL would refuse.

        The `running` lock is ours, so no server of an earlier start lives; one that was started by hand works in
        the directory. PostgreSQL's own check for left-over shared memory does not need the file.
        """
        lines = self._pid_lines()
        # PostgreSQL writes a negative number for a stand-alone backend.
        pid = abs(int(lines[0])) if lines and lines[0].lstrip("-").isdecimal() else None
        if pid is not None and Path(f"/proc/{pid}").exists() and not works_in(pid, self.directory):
            self._pid_file.unlink()

    def _command(self) -> list[str]:
        # Quoted as the setting, a list, wants it.
        socket_dir = '"' + str(self.socket_dir).replace('"', '""') + '"'
        settings = {"unix_socket_directories": socket_dir} | self.settings
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(postgres_program("postgres")), "-D", str(self.directory), *options]

    def _is_ready(self) -> bool:
        lines = self._pid_lines()
        ready = len(lines) > READY_LINE and lines[0] == str(self.pid) and lines[READY_LINE].strip() == "ready"
        if ready:
            self._create_database()
        return ready

    def _create_database(self) -> None:
        with connect(self.url_of("postgres"), "orders up") as connection:
            if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).fetchall():
                connection.execute(f'CREATE DATABASE "{DATABASE}"')

    def _clean_up(self) -> None:
        if self.socket_dir != self.directory:
            shutil.rmtree(self.socket_dir, ignore_errors=True)

    @property
    def _pid_file(self) -> Path:
        return self.directory / "postmaster.pid"

    def _pid_lines(self) -> list[str]:
        try:
            return self._pid_file.read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return []


def _make_private(directory: Path, account: Account) -> None:
    """Make a directory that only the account may enter, at a place where others may make some too."""
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        status = directory.lstat()
        private = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077
        if not private or status.st_uid not in {account.uid, os.geteuid()}:
            raise OperatorError(f"{directory} belongs to another user: choose a shorter --data-dir") from None
    account.own(directory)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
