"""A target for each database that can be a mirror."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.mariadb import MysqlServer

TARGETS = ("sqlite", "mariadb", "postgres")

numbers = itertools.count()


@pytest.fixture(params=TARGETS)
def target_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database, once for each dialect."""
    match request.param:
        case "sqlite":
            yield f"sqlite:///{tmp_path / 'app.db'}"
        case "mariadb":
            server: MysqlServer = request.getfixturevalue("mariadb")
            name = f"app_{os.getpid()}_{next(numbers)}"
            yield server.database(name)
            server.drop(name)
        case "postgres":
            yield request.getfixturevalue("empty_database_url")
