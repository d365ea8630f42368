"""The API as it is served: uvicorn on a port of its own, and a client that keeps an eye on the log."""

import contextlib
import itertools
import socket
import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import psycopg
import uvicorn

from service.app import create_app
from service.http.serving import uvicorn_config
from service.settings import Settings
from tests import loopback

# No server listens there: commands must not depend on it.
NO_REDIS = "redis://127.0.0.1:1/0"
START_SECONDS_MAX = 20

_numbers = itertools.count(1)


class Shop:
    """A client of the API. What it makes has keys of its own, so that tests can share a database."""

    def __init__(self, http: httpx.Client, database_url: str) -> None:
        self.http = http
        self.database_url = database_url
        self.post, self.put, self.delete, self.get = http.post, http.put, http.delete, http.get

    def head(self) -> int:
        """The position of the log's last event."""
        ((position,),) = self.rows("SELECT position FROM log.head")
        return int(position)

    def events(self, path: str) -> list[tuple[str, dict[str, Any]]]:
        """What has happened to the resource at `path`: (type, data), oldest first."""
        kind, _, number = path.strip("/").partition("/")
        query = "SELECT type, data FROM log.events WHERE stream = %s ORDER BY version"
        return self.rows(query, f"{kind.removesuffix('s')}-{number}")

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    def user(self, **fields: object) -> dict[str, Any]:
        number = next(_numbers)
        return self._made("/users", {"name": f"User {number}", "email": f"user{number}@example.org"} | fields)

    def product(self, **fields: object) -> dict[str, Any]:
        number = next(_numbers)
        product = {"sku": f"SKU-{number}", "name": f"Product {number}", "price": "2.50", "currency": "EUR", "stock": 10}
        return self._made("/products", product | fields)

    def order(self, *lines: tuple[dict[str, Any], int], **fields: object) -> dict[str, Any]:
        """An order of (product, quantity) lines; of one product when none is given."""
        items = [{"product_id": product["id"], "quantity": quantity} for product, quantity in lines]
        items = items or [{"product_id": self.product()["id"], "quantity": 3}]
        user_id = fields.pop("user_id", None) or self.user()["id"]
        return self._made("/orders", {"user_id": user_id, "items": items} | fields)

    def stock(self, product: dict[str, Any]) -> int | None:
        """The product's stock on the write side, by the last event that tells it."""
        told = [data["stock_after"] for _, data in self.events(f"/products/{product['id']}") if "stock_after" in data]
        return told[-1] if told else None

    def _made(self, path: str, body: dict[str, object]) -> dict[str, Any]:
        answer = self.post(path, json=body)
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        assert UUID(made["id"]).version == 7
        return made


def problem(answer: httpx.Response) -> tuple[int, str]:
    """The status and code of a problem document that is whole."""
    document = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code", "retryable"} <= document.keys()
    assert document["status"] == answer.status_code
    assert document["type"] == f"/problems/{document['code']}"
    assert document["detail"]
    assert ("retry-after" in answer.headers) == (answer.status_code in {429, 503})
    return answer.status_code, document["code"]


def open_to_all(database_url: str, redis_url: str = NO_REDIS, **more: Any) -> Settings:
    """Settings without keys, for tests of anything but access, on a database that need not be durable."""
    given = {
        "database_url": database_url,
        "redis_url": redis_url,
        "allow_unsafe_database": True,
        "no_auth": True,
        "allowed_hosts": "*",
    }
    return Settings(**given, **more)


@contextlib.contextmanager
def served(database_url: str, redis_url: str = NO_REDIS) -> Iterator[Shop]:
    """Serve the API on `database_url`, which need not be durable."""
    with served_with(open_to_all(database_url, redis_url)) as shop:
        yield shop


@contextlib.contextmanager
def served_with(settings: Settings) -> Iterator[Shop]:
    """Serve the API as `orders serve` does, in a thread."""
    server = uvicorn.Server(uvicorn_config(create_app(settings), settings))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host, port = listener.getsockname()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="uvicorn", daemon=True)
        thread.start()
        try:
            with loopback.Client(base_url=f"http://{host}:{port}", timeout=30) as client:
                yield Shop(client, str(settings.database_url))
        finally:
            server.should_exit = True
            thread.join(START_SECONDS_MAX)
            assert not thread.is_alive()
