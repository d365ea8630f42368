"""`python -m tests.console.pictures [FOLDER]` takes a picture of every page, light and dark, wide and narrow.

It serves a small shop on servers of its own. Without a folder the pictures go to ./data/pictures.
"""

import asyncio
import sys
import tempfile
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import psycopg
from playwright.sync_api import Browser
from psycopg.types.json import Json

from eventlog.ids import new_id
from projector.jobs import table
from projector.jobs.table import Wanted
from service import jobs
from service.embedded import PostgresServer, ValkeyServer
from service.migrate import upgrade
from service.settings import Settings
from tests.access.keyed import new_key
from tests.builders import Writing, append_parked_user
from tests.console.browsing import NARROW, WIDE, browser, tab
from tests.projecting import sweep
from tests.projector.worker_process import WorkerProcess
from tests.served import Shop, served_with

ORDERS = 2_400
ORDERS_A_SEED = 400
# `past` runs from 0 to 1 and never back.
SPREAD = """
UPDATE log.events SET recorded_at = at, occurred_at = at FROM (
    SELECT place, now() - (1 - past - sin(past * 25) / 60) * interval '59 minutes' AS at FROM (
        SELECT position AS place, position::float / max(position) OVER () AS past FROM log.events
    ) AS part
) AS moved WHERE position = place
"""

_IMPORTS = """
INSERT INTO operations.imports (id, path, started_at, finished_at, bytes_read, bytes_total, accepted, events, refused,
    first_rejects) VALUES
    (%(done)s, 'shop/', now() - interval '50 min', now() - interval '49 min', 9, 9, 41230, 160100,
        '{"out-of-stock": 1}', %(rejects)s),
    (%(running)s, 'archive/orders-2025.jsonl.gz', now() - interval '2 min', NULL, 61, 100, 312400, 1190000, '{}', '[]')
"""


def take(folder: Path) -> None:
    """Take all pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="orders-pictures-") as place:
        Path(place).chmod(0o755)
        postgres, valkey = PostgresServer(Path(place)), ValkeyServer(Path(place))
        try:
            _take(folder, Path(place), postgres.start(), valkey.start())
        finally:
            valkey.stop()
            postgres.stop()


def _take(folder: Path, place: Path, url: str, redis_url: str) -> None:
    upgrade(url)
    with Writing(url) as writing:
        for seed in range(1, ORDERS // ORDERS_A_SEED + 1):  # each seed has products with stock of their own
            writing.history(seed, ORDERS_A_SEED)
        user = writing.user(name="Ada Lovelace", external_id="ada")
        tea = writing.product(sku="tea-assam", name="Assam, 250 g", stock=120)
        pot = writing.product(sku="pot-red", name="Red pot", stock=8)
        order = writing.order(user, {tea: 3, pot: 1}, external_id="web-4711", note="please wrap it")
        writing.cancel(order, {1: 1}, "one was enough")
        writing.adjust_stock(pot, 4, "delivery")
        writing.change_product(tea, "Assam, 250 g, new harvest", Decimal("7.20"))
    _spread_over_an_hour(url)
    sweep(url)
    settings = Settings(database_url=url, redis_url=redis_url, allow_unsafe_database=True, console=True, no_auth=True)
    keyed = settings.model_copy(update={"no_auth": False})
    with WorkerProcess(url, redis_url, place):
        with browser() as running, served_with(settings) as shop:
            _picture(running, shop, {"overview-well": "/", "order": f"/orders/{order}"}, folder)
        parked = append_parked_user(url)
        sweep(url)
        pages = _pages(url, order, tea, user, parked)
        with browser() as running, served_with(settings) as shop:
            _picture(running, shop, pages, folder)
        with browser() as running, served_with(keyed) as shop:
            _picture(running, shop, {"sign-in": "/"}, folder)


def _pages(url: str, order: str, product: str, user: str, parked: str) -> dict[str, str]:
    """The pages of a service that needs a look."""
    job = _record_work(url)
    return {
        "overview": "/",
        "events": "/events",
        "event": f"/events/{_last(url)}",
        "order-then": f"/orders/{order}?version=1",
        "product": f"/products/{product}",
        "user": f"/users/{user}",
        "projections": "/projections",
        "parked": "/parked",
        "skip": f"/skip?projection=shop&stream={parked}",
        "replay": "/replay?projection=shop",
        "jobs": "/jobs",
        "job": f"/jobs/{job}",
        "imports": "/imports",
        "audit": "/audit",
        "keys": "/keys",
        "doctor": "/doctor",
        "configuration": "/configuration",
    }


def _picture(running: Browser, shop: Shop, pages: Mapping[str, str], folder: Path) -> None:
    base = str(shop.http.base_url).rstrip("/")
    for scheme in ("light", "dark"):
        for size, viewport in (("wide", WIDE), ("narrow", NARROW)):
            for name, path in pages.items():
                with tab(running, base, viewport, scheme) as it:
                    it.open(path)
                    it.page.screenshot(path=folder / f"{name}-{scheme}-{size}.png", full_page=True)


def _record_work(url: str) -> str:
    """A job that has ended, keys, imports, and a mirror. Returns the job's id."""
    for role in ("operator", "staff"):
        new_key(url, role)
    actor = {"kind": "cli", "id": "ada@shop-1"}
    job = asyncio.run(jobs.ask(url, actor, Wanted("verify", "shop", reason="a customer saw a wrong total")))
    reject = {"file": "shop/orders.csv", "line": 1207, "code": "out-of-stock", "detail": "Line 1 wants 3 of tea-assam."}
    with psycopg.connect(url) as connection:
        table.finish(
            connection, job, {"said": "no difference between tables and log", "is_well": True, "differences": []}
        )
        connection.execute(_IMPORTS, {"done": new_id(), "running": new_id(), "rejects": Json([reject])})
        connection.execute(
            "INSERT INTO mirrors.standings (target, projection, version, position, parked, worker, updated_at, seen_at)"
            " SELECT 'postgresql://reports@bi/shop', 'shop', 1, position, 0, 'bi-1:77', now(), now() FROM log.head"
        )
    return job


def _last(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT max(position) FROM log.events WHERE type = 'OrderLinesCancelled'").fetchone()
    assert row is not None
    return int(row[0])


def _spread_over_an_hour(url: str) -> None:
    """Move the events' times apart, as if they had come in an hour, now more and now fewer."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE log.events DISABLE TRIGGER USER")
        connection.execute(SPREAD)
        connection.execute("ALTER TABLE log.events ENABLE TRIGGER USER")
        connection.execute("SELECT pg_stat_force_next_flush()")
        connection.execute("VACUUM ANALYZE log.events")  # the doctor would name the old versions


if __name__ == "__main__":
    take(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("data/pictures"))
