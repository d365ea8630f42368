from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest

from tests import loopback
from tests.projecting import projected
from tests.served import open_to_all, served, served_with

PREFIX = "/shop"


class Service(NamedTuple):
    """An API, and another one that a proxy serves under PREFIX, on one database that is projected all the time."""

    url: str
    prefixed_url: str
    database_url: str


@pytest.fixture(scope="module")
def service(module_database_url: str) -> Iterator[Service]:
    prefixed = open_to_all(module_database_url, root_path=PREFIX)
    with projected(module_database_url), served(module_database_url) as shop, served_with(prefixed) as other:
        yield Service(str(shop.http.base_url), str(other.http.base_url), module_database_url)


def patient(url: str) -> httpx.Client:
    """A client whose reads wait for their Sync-Token as long as a busy machine may need."""
    return loopback.Client(base_url=url, headers={"Prefer": "wait=20"}, timeout=30)
