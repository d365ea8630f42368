"""One PostgreSQL and one Valkey for the whole run, and a fresh, migrated database for each test that asks.

The process that runs the tests, or hands them to xdist's workers, starts the servers when they are first needed and
stops them at the end. TEST_DATABASE_URL and TEST_REDIS_URL name servers to use instead; the tests make databases of
their own on the first and empty databases 1 to 15 of the second.
"""

import itertools
import logging
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
import redis
from psycopg import sql

from bench import mariadb as programs
from bench.mariadb import MariaDbServer, MysqlServer
from service.embedded import PostgresServer, ValkeyServer
from service.migrate import upgrade
from tests.everyday import why_left_out

# Nothing here outlives the run, so nothing is made durable. Tests of durability start servers of their own.
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "max_prepared_transactions": "5",
}
REDIS_DATABASES = 16

# Copying a database takes 15 ms in memory and 120 ms on a disk. Containers often have 64 MiB there: then it is disk.
MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of our own is made in it
MEMORY_BYTES_MIN = 2 * 1024**3
PREFIX = "orders-tests-"

# Files whose tests take longest come first, so that no worker of xdist has one left when the others have ended.
SLOW = (
    "tests/system/",
    "tests/console/",
    "tests/properties/",
    "tests/docs/",
    "tests/service/test_up.py",
    "tests/clients/",
)


@pytest.fixture(autouse=True)
def logging_ends_with_the_test() -> Iterator[None]:
    """Remove the handler of a command that ran in this process: it holds the stderr that this test captured."""
    root = logging.getLogger()
    level = root.level
    yield
    for handler in [it for it in root.handlers if type(it) is logging.StreamHandler]:
        root.removeHandler(handler)
    root.setLevel(level)


@dataclass
class Servers:
    """Where the servers are, and the migrated database that every test gets a copy of."""

    postgres_url: str
    redis_url: str
    template: str


class RunningServers:
    """The servers of this run, started on demand by the process that owns it."""

    def __init__(self) -> None:
        self._directory: Path | None = None
        self._started: list[PostgresServer | ValkeyServer] = []
        self._servers: Servers | None = None

    def get(self) -> Servers:
        if self._servers is None:
            template = f"test_{uuid.uuid4().hex[:12]}"
            self._servers = Servers(self._postgres_url(), self._redis_url(), template)
            with psycopg.connect(self._servers.postgres_url, autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(template)))
            upgrade(url_of(self._servers.postgres_url, template))
        return self._servers

    def stop(self) -> None:
        if self._servers is not None and not self._started:
            drop_databases_like(self._servers)
        for server in reversed(self._started):
            server.stop()
        if self._directory is not None:
            shutil.rmtree(self._directory)

    def _postgres_url(self) -> str:
        return os.environ.get("TEST_DATABASE_URL") or self._start(PostgresServer(self._place(), FAST))

    def _redis_url(self) -> str:
        return os.environ.get("TEST_REDIS_URL") or self._start(ValkeyServer(self._place()))

    def _start(self, server: PostgresServer | ValkeyServer) -> str:
        self._started.append(server)
        return server.start()

    def _place(self) -> Path:
        if self._directory is None:
            roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > MEMORY_BYTES_MIN
            parent = MEMORY if roomy else Path(tempfile.gettempdir())
            remove_leftovers(parent)
            self._directory = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=parent))
            # As root the servers run as another user, who must get through.
            self._directory.chmod(0o755)
        return self._directory


RUNNING = pytest.StashKey[RunningServers]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="the long form of tests that have one")
    parser.addoption("--everyday", action="store_true", help="without the tests that tests/everyday.py lists")


@pytest.fixture(scope="session")
def is_long(request: pytest.FixtureRequest) -> bool:
    """Whether this is a long run (`make torture`): tests that repeat something choose their count by it."""
    return bool(request.config.getoption("--long"))


def pytest_configure(config: pytest.Config) -> None:
    config.stash[RUNNING] = RunningServers()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    root = config.rootpath
    items.sort(key=lambda item: not item.path.relative_to(root).as_posix().startswith(SLOW))
    if config.getoption("--everyday"):
        for item in items:
            if reason := why_left_out(item.nodeid):
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_configure_node(node: object) -> None:
    """Tell a worker of xdist where the servers are. Runs in the controller."""
    servers = node.config.stash[RUNNING].get()  # type: ignore[attr-defined]
    node.workerinput["servers"] = vars(servers)  # type: ignore[attr-defined]


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[RUNNING].stop()


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Servers:
    told = getattr(request.config, "workerinput", None)
    return Servers(**told["servers"]) if told else request.config.stash[RUNNING].get()


@pytest.fixture
def database_url(servers: Servers) -> Iterator[str]:
    """A libpq URL of a fresh database with all tables and no rows."""
    yield from copy_of_template(servers)


@pytest.fixture(scope="module")
def module_database_url(servers: Servers) -> Iterator[str]:
    """The same, for all tests of a module: for those that only read what the module put there."""
    yield from copy_of_template(servers)


@pytest.fixture
def empty_database_url(servers: Servers) -> Iterator[str]:
    """A libpq URL of a database without any table."""
    yield from copy_of_template(servers, template="template0")


@pytest.fixture
def redis_url(servers: Servers, worker_number: int) -> str:
    """A Redis URL whose database is empty, and this worker's alone."""
    return empty_redis(servers, worker_number)


@pytest.fixture(scope="module")
def module_redis_url(servers: Servers, worker_number: int) -> str:
    """The same, for a service that serves all tests of a module."""
    return empty_redis(servers, worker_number)


def empty_redis(servers: Servers, worker_number: int) -> str:
    database = 1 + worker_number % (REDIS_DATABASES - 1)
    url = urlunsplit(urlsplit(servers.redis_url)._replace(path=f"/{database}"))
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture(scope="session")
def worker_number(request: pytest.FixtureRequest) -> int:
    """0 without xdist, and for its worker gw0."""
    told = getattr(request.config, "workerinput", None)
    return int(told["workerid"].removeprefix("gw")) if told else 0


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MysqlServer]:
    """A MariaDB for all tests of this process; without its programs they are skipped, and fail where CI is set.

    TEST_MYSQL_URL names the server of MySQL or MariaDB that is used instead.
    """
    if url := os.environ.get("TEST_MYSQL_URL"):
        yield MysqlServer(url)
        return
    if lacking := programs.missing():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(lacking)
    with tempfile.TemporaryDirectory(prefix="orders-mariadb-") as directory:
        server = MariaDbServer(Path(directory))
        server.install()
        server.start()
        yield server
        server.stop()


numbers = itertools.count()


def copy_of_template(servers: Servers, template: str | None = None) -> Iterator[str]:
    name = f"{servers.template}_{os.getpid()}_{next(numbers)}"
    with psycopg.connect(servers.postgres_url, autocommit=True) as connection:
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(template or servers.template)))
    yield url_of(servers.postgres_url, name)
    with psycopg.connect(servers.postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def remove_leftovers(parent: Path) -> None:
    """Remove what runs that were killed left there; their servers ended with them."""
    for directory in parent.glob(f"{PREFIX}*-*"):
        try:
            os.kill(int(directory.name.removeprefix(PREFIX).partition("-")[0]), 0)
        except ProcessLookupError:
            shutil.rmtree(directory, ignore_errors=True)
        except (PermissionError, ValueError):
            continue  # somebody else's


def drop_databases_like(servers: Servers) -> None:
    with psycopg.connect(servers.postgres_url, autocommit=True) as connection:
        left = connection.execute("SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [servers.template])
        for (name,) in left.fetchall():
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def url_of(server_url: str, database: str) -> str:
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{database}"))
