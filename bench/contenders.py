"""The services under measurement, each on a database of its own with the same users and products."""

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import psycopg
from psycopg import ClientCursor
from sqlalchemy import create_engine

from bench.crud_tables import Base
from bench.history import PRODUCTS, USERS, Ids, ids_in, write_history, write_ids
from bench.options import BenchError
from bench.process import Process
from bench.stage import Stage, execute, free_port

CATCH_UP_SECONDS_MAX = 600

_CRUD_ROWS = """
INSERT INTO users (id, name, email)
SELECT uuidv7(), 'User ' || n, 'user' || n || '@example.org' FROM generate_series(1, %(users)s::integer) AS n;

INSERT INTO products (id, sku, name, price, currency, stock)
SELECT uuidv7(), 'SKU-' || lpad(n::text, 6, '0'), 'Product ' || lpad(n::text, 6, '0'), 100 + n %% 400 + 0.50,
       'EUR', 1000000000
FROM generate_series(1, %(products)s::integer) AS n
"""


@dataclass(slots=True)
class Baseline:
    """A service of this folder: crud, crud_tuned, or ceiling."""

    name: str
    url: str
    api: Process
    database_url: str | None
    ids: Ids

    def mark(self) -> int:
        """Where its orders are now, for `placed_since`."""
        return int(execute(self.database_url, "SELECT count(*) FROM orders")[0][0]) if self.database_url else 0

    def placed_since(self, mark: int) -> int | None:
        """How many orders its database has got since; None when it has no database."""
        return self.mark() - mark if self.database_url else None

    def settle(self) -> None:
        """Nothing is left to be done after an answer."""


@dataclass(slots=True)
class Orders:
    """The real service: `orders serve` and `orders work`."""

    name: str
    url: str
    api: Process
    worker: Process
    database_url: str
    redis_url: str
    ids: Ids

    def mark(self) -> int:
        """Where its log is now, for `placed_since`."""
        return self.position()[1]

    def placed_since(self, mark: int) -> int | None:
        """How many orders its log has got since."""
        placed = "SELECT count(*) FROM log.events WHERE position > %(mark)s AND type = 'OrderPlaced'"
        return int(execute(self.database_url, placed, {"mark": mark})[0][0])

    def settle(self) -> None:
        """Wait until the worker, if it runs, has done what the last run left to do."""
        if self.worker.is_running:
            self.wait_until_projected()

    def position(self) -> tuple[int, int]:
        """Where the read tables are, and where the log is."""
        projected, head = execute(
            self.database_url, "SELECT checkpoint.position, head.position FROM shop.checkpoint, log.head"
        )[0]
        return int(projected), int(head)

    def wait_until_projected(self) -> None:
        """Wait until the read tables have caught up with the log. Raises BenchError when they do not."""
        deadline = time.monotonic() + CATCH_UP_SECONDS_MAX
        while time.monotonic() < deadline and self.worker.is_running:
            projected, head = self.position()
            if projected == head:
                return
            time.sleep(0.05)
        raise BenchError(f"the worker does not catch up: {self.worker.last_line()}")

    def start(self, *, worker: bool = True) -> None:
        self.api.start()
        if worker:
            self.worker.start()
        self.api.wait_until_answers(f"{self.url}/healthz")
        if worker:
            self.wait_until_projected()

    def stop(self) -> None:
        self.api.stop()
        self.worker.stop()


def real_service(
    stage: Stage,
    name: str,
    database_url: str,
    *,
    redis_url: str | None = None,
    processes: int = 1,
) -> Orders:
    """The service on a database that has a history. Not started."""
    port = free_port()
    redis_url = redis_url or stage.redis_url()
    environment = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "PORT": str(port), "NO_AUTH": "1"}
    command = [sys.executable, "-P", "-m", "service.cli"]
    api = stage.process(f"{name}-api", [*command, "serve", "--processes", str(processes)], environment)
    worker = stage.process(f"{name}-worker", [*command, "work"], environment)
    ids = write_ids(database_url, stage.directory, name)
    return Orders(name, f"http://127.0.0.1:{port}", api, worker, database_url, redis_url, ids)


def new_service(stage: Stage, name: str) -> Orders:
    """The service on a database of its own with users and products. Not started."""
    url = stage.database(name)
    write_history(url, orders=0)
    return real_service(stage, name, url)


def another_api(stage: Stage, service: Orders, name: str, changed: Mapping[str, str]) -> Orders:
    """The service with one more API on the same database, in another environment. Started."""
    port = free_port()
    given = {"DATABASE_URL": service.database_url, "REDIS_URL": service.redis_url, "PORT": str(port), "NO_AUTH": "1"}
    api = stage.process(name, [sys.executable, "-P", "-m", "service.cli", "serve"], {**given, **changed})
    made = replace(service, name=name, url=f"http://127.0.0.1:{port}", api=api)
    api.start()
    api.wait_until_answers(f"{made.url}/healthz")
    return made


def baseline(stage: Stage, module: str, database_url: str | None, ids: Ids) -> Baseline:
    """A service of this folder, started."""
    port = free_port()
    environment = {"PORT": str(port)} | ({"DATABASE_URL": database_url} if database_url else {})
    api = stage.process(module, [sys.executable, "-P", "-m", "bench.serve", module], environment)
    url = f"http://127.0.0.1:{port}"
    api.start()
    api.wait_until_answers(f"{url}/healthz")
    return Baseline(module, url, api, database_url, ids)


def new_baseline(stage: Stage, module: str) -> Baseline:
    """`crud` or `crud_tuned` on a database of its own with users and products, started."""
    url = crud_database(stage, module)
    users, products = (
        [str(id_) for (id_,) in execute(url, f"SELECT id FROM {table} ORDER BY id")]  # noqa: S608 - our own names
        for table in ("users", "products")
    )
    return baseline(stage, module, url, ids_in(stage.directory, module, users, products))


def crud_database(stage: Stage, name: str, users: int = USERS, products: int = PRODUCTS) -> str:
    """A database with the tables of crud.py, users and products."""
    url = stage.database(name, migrated=False)
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    Base.metadata.create_all(engine)
    engine.dispose()
    with psycopg.connect(url, cursor_factory=ClientCursor) as connection:
        connection.execute(_CRUD_ROWS.encode(), {"users": users, "products": products})
    execute(url, "VACUUM (ANALYZE)")
    return url
