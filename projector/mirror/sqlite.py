"""A mirror in a file of SQLite."""

import fcntl
import socket
import sqlite3
from collections.abc import Collection, Sequence
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Boolean, Column, Connection, Date, Engine, Integer, Table, Text, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeEngine

from projector.mirror.driver_target import DriverTarget, Names, Values, counted, in_parts
from projector.mirror.target import Unsuitable
from projector.projection import Projection

# How long a transaction waits for another one that writes.
BUSY_MS_MAX = 10_000
# One statement with 100 rows takes less time than 100 statements. A statement may have 32,766 values.
ROWS_AT_ONCE = 100
VERSION_MIN = (3, 37)  # STRICT tables
# A path that is wrong, and what to do about it.
_MAY_WRITE = "name a file that this user may write, in a folder that this user may write"
_WRONG_PATH = {
    sqlite3.SQLITE_CANTOPEN: _MAY_WRITE,
    sqlite3.SQLITE_NOTADB: "it is no SQLite database; name another file, or a new one",
    sqlite3.SQLITE_PERM: _MAY_WRITE,
    sqlite3.SQLITE_READONLY: _MAY_WRITE,
    sqlite3.SQLITE_IOERR_GETTEMPPATH: "for temporary files, name a folder that this user may write in TMPDIR",
}
_MAKE_ROOM = "make room on the disk"
_REMEDIES = _WRONG_PATH | {sqlite3.SQLITE_FULL: _MAKE_ROOM, sqlite3.SQLITE_IOERR: f"{_MAKE_ROOM}, or {_MAY_WRITE}"}

# synchronous=FULL: a commit survives a power failure. legacy_alter_table: a rename leaves other people's views alone.
_SETTINGS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    f"PRAGMA busy_timeout = {BUSY_MS_MAX}",
    "PRAGMA legacy_alter_table = ON",
)


class SqliteTarget(DriverTarget):
    """One file. A table has the name that it has in PostgreSQL, without the schema."""

    table_options = {"sqlite_strict": True, "sqlite_with_rowid": False}  # noqa: RUF012 - never changed

    money = staticmethod(counted)
    if_there, given, least, greatest = "ON CONFLICT ({}) DO UPDATE SET", "excluded.{}", "min", "max"

    def __init__(self, url: URL) -> None:
        if not url.database or url.database == ":memory:":
            raise Unsuitable("a mirror in SQLite needs a file: sqlite:///./app.db, or sqlite:////srv/app.db")
        if url.query:
            raise Unsuitable("the URL of a mirror in SQLite has no options: sqlite:///./app.db")
        if url.host:  # as the list of mirrors has it
            if url.host != socket.gethostname():
                raise Unsuitable(f"this mirror is a file on the machine {url.host}: run the command there")
            url = URL.create(url.drivername, database=f"/{url.database}")
        self._path = Path(str(url.database))
        if not self._path.parent.is_dir():
            raise Unsuitable(f"there is no directory {self._path.parent}")
        self._lock: TextIOWrapper | None = None
        self._file: int | None = None
        super().__init__(url)

    @property
    def listed(self) -> str:
        # The same path on another machine is another file.
        return f"sqlite://{socket.gethostname()}{self._path.absolute()}"

    def _make_engine(self) -> Engine:
        engine = create_engine(self.url)

        @event.listens_for(engine, "connect")
        def settle(connection: Any, _: object) -> None:
            connection.isolation_level = None  # SQLAlchemy begins transactions, not the driver
            for setting in _SETTINGS:
                connection.execute(setting)
            self._file = self._file or self._path.stat().st_ino

        @event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            # SQLite would go on in the file that it has open, which nobody else can find.
            if not self._path.exists() or self._path.stat().st_ino != self._file:
                raise Unsuitable(f"{self._path} was removed or replaced while the mirror was at work: start it again")
            writes = connection.get_execution_options().get("writes")
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

        return engine

    def check(self, connection: Connection) -> None:
        version = connection.exec_driver_sql("SELECT sqlite_version()").scalar_one()
        if tuple(map(int, version.split(".")[:2])) < VERSION_MIN:
            raise Unsuitable(f"this Python has SQLite {version}: a mirror needs SQLite 3.37 or newer")

    def is_away(self, error: DBAPIError) -> bool:
        return _kind(error) not in _WRONG_PATH

    def said(self, error: DBAPIError) -> str:
        remedy = _REMEDIES.get(_kind(error))
        return super().said(error) + (f": {remedy}" if remedy else "")

    def take(self, connection: Connection) -> bool:
        lock = self._path.with_name(f"{self._path.name}.mirror-lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            return False
        self._lock = lock
        return True

    def close(self) -> None:
        super().close()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def writing(self) -> Connection:
        return self.engine.connect().execution_options(writes=True)

    def snapshot(self) -> Connection:
        return self.engine.connect()

    def column_type(self, column: Column[Any], is_searched: bool) -> TypeEngine[Any]:
        # STRICT tables have few types, and take nothing else than what they say.
        if isinstance(column.type, Integer | Boolean):
            return Integer()
        return Text() if isinstance(column.type, Date) else column.type

    def add(self, connection: Connection, table: Table, names: Names, rows: list[Values], end: str = "") -> None:
        marks = f"({', '.join('?' * len(names))})"
        for some in in_parts(rows, ROWS_AT_ONCE):
            values = ", ".join([marks] * len(some))
            statement = f'INSERT INTO "{table.name}" ({", ".join(names)}) VALUES {values}{end}'  # noqa: S608 - names of ours
            connection.exec_driver_sql(statement, tuple(chain.from_iterable(some)))

    def update(self, connection: Connection, table: Table, names: Names, key: Names, rows: list[Values]) -> int:
        settings = ", ".join(f"{name} = ?" for name in names)
        same_key = " AND ".join(f"{name} = ?" for name in key)
        statement = f'UPDATE "{table.name}" SET {settings} WHERE {same_key}'  # noqa: S608 - names of ours
        return connection.exec_driver_sql(statement, rows).rowcount

    def swap(self, connection: Connection, projection: Projection, tables: Sequence[str], old: Collection[str]) -> None:
        with connection.begin():
            for table, name in self._renames(projection, tables, old):
                connection.exec_driver_sql(f'ALTER TABLE "{table}" RENAME TO "{name}"')


def _kind(error: DBAPIError) -> int:
    code = int(getattr(error.orig, "sqlite_errorcode", 0))
    return code if code in _REMEDIES else code & 0xFF
