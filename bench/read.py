"""Reading orders: one, a page, a filtered page; at ten thousand orders and at a million."""

import random
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import ClientCursor

from bench import load
from bench.contenders import Baseline, Orders, baseline, crud_database, real_service
from bench.history import HERE, ids_in
from bench.load import Load
from bench.options import Options
from bench.report import LOAD_COLUMNS, Report, Table, load_rows
from bench.rounds import alternate, median_of, ratio
from bench.stage import Stage, execute

FEW, MANY = 10_000, 1_000_000
CONNECTIONS = (1, 16, 64)
PATHS = 5_000
WARM_UP_SECONDS = 1
PAGE = "/orders?limit=50"

_MORE_OF_READ_TABLES = {
    "schema": "shop",
    "more_of_users": ", email_key, version, created_at, updated_at",
    "values_of_users": ", 'user' || n || '@example.org', 1, now(), now()",
    "more_of_products": ", discontinued, version, created_at, updated_at",
    "values_of_products": ", false, 1, now(), now()",
    "more_of_items": ", placed_at",
    "values_of_items": ", at",
}
_MORE_OF_CRUD = dict.fromkeys(_MORE_OF_READ_TABLES, "") | {"schema": "public"}


def measure(stage: Stage, options: Options) -> Report:
    """All tables of this part."""
    report = Report("read")
    few = _with_orders(stage, "few", options.size(FEW, 1_000))
    many = _with_orders(stage, "many", options.size(MANY, 20_000))
    crud = _crud_with_orders(stage, options.size(MANY, 20_000))
    ceiling = baseline(stage, "ceiling", None, many.ids)
    few.start(worker=False)
    many.start(worker=False)
    _one_order(stage, options, report, many, crud, ceiling)
    _page(stage, options, report, many, crud)
    crud.api.stop()
    ceiling.api.stop()
    _growth(stage, options, report, few, many)
    return report


def fill(url: str, orders: int, more: dict[str, str] = _MORE_OF_READ_TABLES) -> None:
    """Put orders into tables that are empty, or hold no orders yet."""
    script = (HERE / "read_rows.sql").read_text()
    for name, value in more.items():
        script = script.replace(f"{{{name}}}", value)
    with psycopg.connect(url, cursor_factory=ClientCursor) as connection:
        connection.execute(script.encode(), {"orders": orders})
    execute(url, "VACUUM (ANALYZE)")


def ids_of(service: Orders | Baseline, table: str) -> list[tuple[str, int]]:
    """Ids and versions of orders, at random."""
    query = f"SELECT id::text, version FROM {table} ORDER BY random() LIMIT {PATHS}"  # noqa: S608 - our own names
    assert service.database_url is not None
    return [(str(id_), int(version)) for id_, version in execute(service.database_url, query)]


def paths_in(stage: Stage, name: str, lines: Iterable[str]) -> Path:
    """Write paths down for wrk/get.lua."""
    path = stage.directory / f"{name}.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def _with_orders(stage: Stage, name: str, orders: int) -> Orders:
    url = stage.database(name)
    fill(url, orders)
    return real_service(stage, name, url)


def _crud_with_orders(stage: Stage, orders: int) -> Baseline:
    url = crud_database(stage, "crud", users=0, products=0)
    fill(url, orders, _MORE_OF_CRUD)
    return baseline(stage, "crud", url, ids_in(stage.directory, "crud", [], []))


def _one_order(stage: Stage, options: Options, report: Report, ours: Orders, crud: Baseline, ceiling: Baseline) -> None:
    note = "`not modified`: the client sends the ETag that it has, and gets 304. `ours is`: ours to that contender."
    table = Table("GET one order with its items, at random", LOAD_COLUMNS, note=note)
    report.tables.append(table)
    our_ids, their_ids = ids_of(ours, "shop.orders"), ids_of(crud, "orders")
    paths = {
        "ours": (ours.url, paths_in(stage, "one-ours", (f"/orders/{id_}" for id_, _ in our_ids))),
        "crud": (crud.url, paths_in(stage, "one-crud", (f"/orders/{id_}" for id_, _ in their_ids))),
        "ceiling": (ceiling.url, paths_in(stage, "one-ceiling", (f"/orders/{id_}" for id_, _ in our_ids))),
        "ours, not modified": (ours.url, paths_in(stage, "etags", (f'/orders/{id_}\t"{at}"' for id_, at in our_ids))),
    }
    for connections in CONNECTIONS:
        results = _load(options, paths, connections)
        report.keep(f"one order, {connections} connections", results)
        ratios = {name: ratio(results["ours"], results[name], _rate) for name in results if name != "ours"}
        table.rows += load_rows(connections, results, ratios)
        if connections == CONNECTIONS[-1]:
            report.figures["read.one_vs_crud"] = ratios["crud"]
            report.figures["read.one_vs_ceiling"] = ratios["ceiling"]


def _page(stage: Stage, options: Options, report: Report, ours: Orders, crud: Baseline) -> None:
    path = paths_in(stage, "page", [PAGE])
    others = paths_in(stage, "pages", (f"{PAGE}&{until}" for until in _until_some_time(ours)))
    targets = {"ours": (ours.url, path), "crud": (crud.url, path), "ours, each another page": (ours.url, others)}
    results = _load(options, targets, 16)
    report.keep("page of 50, 16 connections", results)
    ratios = {name: ratio(results["ours"], results[name], _rate) for name in results if name != "ours"}
    note = "All ask for the same page, and equal reads share one. `each another page`: 50 orders up to a random time."
    table = Table("GET the newest 50 orders with their items", LOAD_COLUMNS, load_rows(16, results, ratios), note=note)
    report.tables.append(table)
    report.figures["read.page_vs_crud"] = ratios["crud"]


def _growth(stage: Stage, options: Options, report: Report, few: Orders, many: Orders) -> None:
    """A user has a hundred orders in either, so the pages are alike."""
    columns = ("what", "orders", "p50 ms", "p99 ms", "a second", "time to that of few")
    note = "One connection: the time of one request. A user has about 100 orders in both, so the pages are alike."
    table = Table("The same reads with few and with many orders", columns, note=note)
    report.tables.append(table)
    sizes = {"few": (few, options.size(FEW, 1_000)), "many": (many, options.size(MANY, 20_000))}
    for what, figure, paths_of in (
        ("one order", "read.one_growth", _one_paths),
        ("a user's orders, 25", "read.filtered_growth", _user_paths),
        ("cancelled before a time, 25", "read.status_growth", _cancelled_paths),
    ):
        paths = {
            name: (each.url, paths_in(stage, f"{name}-{figure}", paths_of(each))) for name, (each, _) in sizes.items()
        }
        results = _load(options, paths, 1)
        report.keep(what, results)
        report.figures[figure] = ratio(results["many"], results["few"], lambda it: it.p50_ms)
        for name, loads in results.items():
            p50, p99, rate = (median_of(loads, of) for of in (lambda it: it.p50_ms, lambda it: it.p99_ms, _rate))
            growth = f"{report.figures[figure]:.2f} x" if name == "many" else ""
            table.rows.append((what, sizes[name][1], p50, p99, rate, growth))


def _one_paths(service: Orders) -> Iterable[str]:
    return (f"/orders/{id_}" for id_, _ in ids_of(service, "shop.orders"))


def _user_paths(service: Orders) -> Iterable[str]:
    users = execute(service.database_url, "SELECT id FROM shop.users ORDER BY random() LIMIT %(n)s", {"n": PATHS})
    return (f"/orders?limit=25&user_id={id_}" for (id_,) in users)


def _cancelled_paths(service: Orders) -> Iterable[str]:
    return (f"/orders?limit=25&status=cancelled&{until}" for until in _until_some_time(service))


def _until_some_time(service: Orders) -> Iterable[str]:
    """Filters for the orders until a time at which there are many."""
    bounds = "SELECT percentile_disc(ARRAY[0.2, 1]) WITHIN GROUP (ORDER BY placed_at) FROM shop.orders"
    first, last = execute(service.database_url, bounds)[0][0]
    chance = random.Random(1)
    times: list[datetime] = [
        first + timedelta(seconds=(last - first).total_seconds() * chance.random()) for _ in range(PATHS)
    ]
    return (f"placed_at%5Blte%5D={quote(at.isoformat())}" for at in times)


def _load(options: Options, targets: dict[str, tuple[str, Path]], connections: int) -> dict[str, list[Load]]:
    def run(url: str, paths: Path, seconds: float, number: int) -> Load:
        return load.run(url, "get.lua", connections, seconds, paths, number)

    for url, paths in targets.values():
        run(url, paths, WARM_UP_SECONDS, 0)
    runs = {name: partial(run, url, paths, options.seconds) for name, (url, paths) in targets.items()}
    return alternate(runs, options.rounds)


def _rate(done: Load) -> float:
    return done.per_second
