"""A target for each database that can be a mirror."""

import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.projector.mirror import mariadb_server
from tests.projector.mirror.mariadb_server import MariaDbServer

TARGETS = ("sqlite", "mariadb", "postgres")

numbers = itertools.count()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDbServer]:
    """A MariaDB for all tests of this process that need one."""
    lacking = mariadb_server.missing()
    if lacking:
        if os.environ.get("CI"):
            pytest.fail(lacking)
        pytest.skip(lacking)
    with tempfile.TemporaryDirectory(prefix="orders-mariadb-") as directory:
        server = MariaDbServer(Path(directory))
        server.install()
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture(params=TARGETS)
def target_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, once for each dialect."""
    match request.param:
        case "sqlite":
            yield f"sqlite:///{tmp_path / 'app.db'}"
        case "mariadb":
            server: MariaDbServer = request.getfixturevalue("mariadb")
            name = f"app_{next(numbers)}"
            yield server.database(name)
            server.drop(name)
        case "postgres":
            yield request.getfixturevalue("empty_database_url")
