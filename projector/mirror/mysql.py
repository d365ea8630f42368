"""A mirror in MySQL or MariaDB, by PyMySQL (the extra `mysql`)."""

import importlib.util
import re
import ssl
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import URL, Column, Connection, Dialect, Engine, Table, Text, Uuid, create_engine, event
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.types import TypeEngine

from projector import swapping
from projector.mirror.driver_target import DriverTarget, Names, Values, checked, in_parts
from projector.mirror.layout import Layout
from projector.mirror.target import Target, Unsuitable
from projector.projection import Projection

MARIADB_MIN, MYSQL_MIN = (10, 6), (8, 0, 19)  # JSON_TABLE, and a RENAME TABLE that is all or nothing
CONNECT_SECONDS_MAX = 5
ANSWER_SECONDS_MAX = 300  # an index of a large table takes so long
# A row that another session holds is waited for so long; so is a table, but not by the swap.
LOCK_SECONDS_MAX = 10
# All readers queue behind a RENAME that waits for a long transaction. So it gives up after a second, and tries again.
SWAP_LOCK_SECONDS_MAX = 1

# Rows of one UPDATE.
_ROWS_AT_ONCE = 1_000
# Texts in keys and indexes; an index takes 3,072 bytes.
_KEY_LENGTH = 255

# They compare bytes, also of spaces at the end: `Abc ` is another SKU than `Abc`, as in PostgreSQL.
_COLLATION_OF_MARIADB, _COLLATION_OF_MYSQL = "utf8mb4_nopad_bin", "utf8mb4_0900_bin"

# Strict: a value that does not fit is refused, and never cut. Without ANSI_QUOTES and NO_BACKSLASH_ESCAPES: `_literals`
# writes texts in double quotes, and escapes with backslashes.
_SETTINGS = (
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', time_zone = '+00:00', foreign_key_checks = 1, "
    f"unique_checks = 1, innodb_lock_wait_timeout = {LOCK_SECONDS_MAX}, lock_wait_timeout = {LOCK_SECONDS_MAX}, "
    "sql_safe_updates = 0, sql_select_limit = 18446744073709551615"
    "/*M!100100 , max_statement_time = 0 *//*!80000 , max_execution_time = 0 */"
)

# Neither DataError nor IntegrityError to PyMySQL: a CHECK that fails (MariaDB, MySQL), a value not of its type.
_REFUSALS = {4025, 3819, 1292, 1366}
_LOCK_WAIT_TIMEOUT = 1205
# The user may not use the database, has another password, or there is no such database.
_WRONG_URL = {1044, 1045, 1049}
_CHECK_URL = "check the URL of the mirror, and that the server runs"
_REMEDIES = {
    **dict.fromkeys(_WRONG_URL, "correct the user, the password or the database in the URL of the mirror"),
    **dict.fromkeys({2002, 2003, 2005, 2006, 2013, 2026}, _CHECK_URL),
    **dict.fromkeys({1040, 1203}, "close connections that nobody needs, or raise max_connections"),
    **dict.fromkeys({1021, 1114}, "make room on the disk of the server"),
    **dict.fromkeys({1142, 1227}, "grant the user all rights on the mirror's database"),
    **dict.fromkeys({1290, 1836}, "use a server that may write"),
    1665: "set binlog_format of the server to ROW or MIXED",
    _LOCK_WAIT_TIMEOUT: "end the session that holds the lock",
}

# The options of a URL that reach PyMySQL. `charset` is common in URLs; the mirror uses utf8mb4 whatever it says.
_OPTIONS = ("user", "password", "ssl_ca", "ssl_cert", "ssl_key", "unix_socket", "bind_address", "charset")

_encoder = msgspec.json.Encoder(decimal_format="string")
_json, _lines = _encoder.encode, _encoder.encode_lines


class MysqlTarget(DriverTarget):
    """One database. A table has the name that it has in PostgreSQL, without the schema."""

    has_partial_indexes = False
    money = staticmethod(checked)
    if_there, given, least, greatest = "ON DUPLICATE KEY UPDATE", "VALUES({})", "least", "greatest"

    def __init__(self, url: URL) -> None:
        if importlib.util.find_spec("pymysql") is None:
            raise Unsuitable("a mirror in MySQL needs PyMySQL: pip install pymysql")
        if not url.database:
            raise Unsuitable("the URL names no database: mysql://user:password@host/database")
        _check_options(url.query)
        super().__init__(url.set(drivername="mysql+pymysql"))
        self.shown = self.shown.replace("mysql+pymysql:", "mysql:", 1)
        # `check` finds it out: MariaDB and MySQL have different names for the collation that compares bytes.
        self._collation = _COLLATION_OF_MYSQL

    @property
    def table_options(self) -> dict[str, Any]:  # type: ignore[override]
        return {
            "mysql_engine": "InnoDB",
            "mysql_row_format": "DYNAMIC",  # in others an index takes 767 bytes
            "mysql_charset": "utf8mb4",
            "mysql_collate": self._collation,
        }

    def _make_engine(self) -> Engine:
        engine = create_engine(
            self.url,
            isolation_level="READ COMMITTED",
            connect_args={
                "charset": "utf8mb4",
                "connect_timeout": CONNECT_SECONDS_MAX,
                "read_timeout": ANSWER_SECONDS_MAX,
                "write_timeout": ANSWER_SECONDS_MAX,
                "init_command": _SETTINGS,  # before SQLAlchemy looks which quotes the sql_mode takes
            },
        )

        @event.listens_for(engine, "do_connect")
        def look(dialect: Dialect, _: object, arguments: Any, options: dict[str, Any]) -> None:
            # PyMySQL waits for a server's greeting as long as for a statement. So a session before the real one waits
            # briefly: a port that takes connections and says nothing is found out.
            dialect.connect(*arguments, **options | {"read_timeout": CONNECT_SECONDS_MAX}).close()

        return engine

    def check(self, connection: Connection) -> None:
        self._collation = collation_of(connection.exec_driver_sql("SELECT version()").scalar_one())
        if ("wsrep_on", "ON") in connection.exec_driver_sql("SHOW VARIABLES LIKE 'wsrep_on'").all():
            raise Unsuitable(
                "the server is a node of a Galera cluster, which has no lock that keeps a second mirror out: "
                "use a server of its own"
            )

    def take(self, connection: Connection) -> bool:
        # The server's locks are of all its databases. This one ends with the session.
        lock = f"orders mirror {self.url.database}"[:64]
        taken: int | None = connection.exec_driver_sql("SELECT get_lock(%s, 0)", (lock,)).scalar_one()
        connection.commit()
        return taken == 1

    def snapshot(self) -> Connection:
        connection = self.engine.connect()
        with connection.begin():
            self.check(connection)
        return connection.execution_options(isolation_level="REPEATABLE READ")

    def column_type(self, column: Column[Any], is_searched: bool) -> TypeEngine[Any]:
        if isinstance(column.type, Text):
            return mysql.VARCHAR(_KEY_LENGTH) if is_searched else mysql.MEDIUMTEXT()
        return column.type

    def add(self, connection: Connection, table: Table, names: Names, rows: list[Values], end: str = "") -> None:
        into = f"INSERT INTO `{table.name}` ({', '.join(names)}) VALUES"
        for some in in_parts(rows, _ROWS_AT_ONCE):
            literals = _literals(some)
            if literals is None:
                marks = ", ".join(["%s"] * len(names))
                connection.exec_driver_sql(f"{into} ({marks}){end}", list(some))
            else:
                connection.exec_driver_sql(f"{into} {literals}{end}", execution_options={"no_parameters": True})

    def update(self, connection: Connection, table: Table, names: Names, key: Names, rows: list[Values]) -> int:
        statement = _update(table, names, key)
        return sum(
            connection.exec_driver_sql(statement, (_json(some).decode(),)).rowcount
            for some in in_parts(rows, _ROWS_AT_ONCE)
        )

    def complete(self, connection: Connection, layout: Layout) -> None:
        self._when_free(connection, lambda: Target.complete(self, connection, layout))

    def swap(self, connection: Connection, projection: Projection, tables: Sequence[str], old: Collection[str]) -> None:
        renames = [f"`{table}` TO `{name}`" for table, name in self._renames(projection, tables, old)]
        statement = f"RENAME TABLE {', '.join(renames)}"
        self._when_free(connection, lambda: self._rename(connection, statement))

    def _when_free(self, connection: Connection, attempt: Callable[[], None]) -> None:
        """Change tables that others read."""
        with connection.begin():
            connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {SWAP_LOCK_SECONDS_MAX}")
        try:
            swapping.swap_when_free(attempt, _is_locked)
        finally:
            with connection.begin():
                connection.exec_driver_sql(f"SET SESSION lock_wait_timeout = {LOCK_SECONDS_MAX}")

    def _rename(self, connection: Connection, statement: str) -> None:
        with connection.begin():
            connection.exec_driver_sql(statement)

    def is_away(self, error: DBAPIError) -> bool:
        return _code(error) not in _WRONG_URL

    def refuses(self, error: DBAPIError) -> bool:
        return super().refuses(error) or _code(error) in _REFUSALS

    def said(self, error: DBAPIError) -> str:
        code, *text = error.orig.args if error.orig is not None else ("",)
        remedy = _REMEDIES.get(code)
        return f"{''.join(map(str, text)).partition(chr(10))[0]} (error {code})" + (f": {remedy}" if remedy else "")


def _check_options(query: Mapping[str, Any]) -> None:
    """Raises Unsuitable for options that PyMySQL does not take from a URL, or whose files it cannot use."""
    if wrong := [name for name, value in query.items() if name not in _OPTIONS or not isinstance(value, str)]:
        raise Unsuitable(f"the URL has the option {wrong[0]}: a mirror takes {', '.join(_OPTIONS)}, each once")
    try:
        context = ssl.create_default_context(cafile=query.get("ssl_ca"))
        if "ssl_cert" in query:
            context.load_cert_chain(query["ssl_cert"], query.get("ssl_key"))
    except OSError as error:
        raise Unsuitable(f"ssl_ca, ssl_cert or ssl_key of the URL names no file that TLS can use: {error}") from error


def collation_of(version: str) -> str:
    """The collation that compares bytes on a server of this version. Raises Unsuitable if the server is too old."""
    is_mariadb = "mariadb" in version.lower()
    numbers = tuple(map(int, re.findall(r"\d+", version)[:3]))
    if numbers < (MARIADB_MIN if is_mariadb else MYSQL_MIN):
        raise Unsuitable(f"the server is {version}: a mirror needs MariaDB 10.6 or MySQL 8.0.19, or newer")
    return _COLLATION_OF_MARIADB if is_mariadb else _COLLATION_OF_MYSQL


def _code(error: DBAPIError) -> int | None:
    arguments = error.orig.args if error.orig is not None else ()
    return arguments[0] if arguments else None


def _is_locked(error: Exception) -> bool:
    return isinstance(error, OperationalError) and _code(error) == _LOCK_WAIT_TIMEOUT


def _update(table: Table, columns: Sequence[str], key: Sequence[str]) -> str:
    """An UPDATE by a join with the rows of a JSON array of arrays: new values, and then the key's."""
    names = [*columns, *key]
    described = ", ".join(
        f"{name} {_json_type(table.c[name])} PATH '$[{number}]' ERROR ON ERROR" for number, name in enumerate(names)
    )
    same_key = " AND ".join(f"mirrored.{name} = changed.{name}{_collated(table.c[name])}" for name in key)
    settings = ", ".join(f"mirrored.{name} = changed.{name}" for name in columns)
    return (
        f"UPDATE `{table.name}` AS mirrored JOIN JSON_TABLE(%s, '$[*]' COLUMNS ({described})) AS changed "  # noqa: S608 - as above
        f"ON {same_key} SET {settings}"
    )


def _json_type(column: Column[Any]) -> str:
    """The type of a column of JSON_TABLE. A text is not cut here: the stored column refuses one that is too long."""
    if _is_text(column):
        return f"VARCHAR({36 if isinstance(column.type, Uuid) else 4_000}) CHARACTER SET utf8mb4"
    return column.type.compile(dialect=_DIALECT)


def _collated(column: Column[Any]) -> str:
    """How a text of JSON_TABLE compares: as the stored one. Not every MySQL 8.0 takes this as part of the type."""
    return f" COLLATE {column.table.dialect_options['mysql']['collate']}" if _is_text(column) else ""


def _is_text(column: Column[Any]) -> bool:
    return isinstance(column.type, Text | mysql.VARCHAR | mysql.MEDIUMTEXT | Uuid)


_DIALECT = mysql.dialect()


def _literals(rows: Sequence[Values]) -> str | None:
    r"""The rows as they stand behind VALUES. None if one of them has a value that PyMySQL must write.

    A row in JSON has the literals of MySQL between its brackets: numbers, null, true, and texts in double quotes with
    the same escapes, but for \u and \f. PyMySQL takes longer: it escapes each value in Python. A line
    break within a text is escaped, so one between brackets is always between two rows.
    """
    lines = _lines(rows)
    if b"\\u" in lines or b"\\f" in lines:
        return None
    rows_in_brackets = lines[1:-2].replace(b"]\n[", b"),(").decode()
    return f"({rows_in_brackets})"
