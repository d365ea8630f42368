"""The same order, three events, through the package `eventsourcing` in process, and through ours over HTTP."""

import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from uuid import UUID, uuid4

from bench.contenders import new_service
from bench.load import Load
from bench.options import BenchError, Options
from bench.report import Report, Table
from bench.rounds import alternate, median_of, ratio
from bench.stage import Stage, execute
from bench.write import USUAL, Run, placing

PRODUCTS = 2_000
PRODUCTS_QUICK = 200
PROJECTED_EVENTS = 20_000
PROJECTED_EVENTS_QUICK = 2_000
RUNNER_SECONDS_MAX = 300
# How the package is run: threads, and whether its database functions are used. The best of them counts.
WAYS = {
    "1 thread": (1, False),
    "1 thread, functions": (1, True),
    "4 threads": (4, False),
    "4 threads, functions": (4, True),
}


@dataclass(frozen=True, slots=True)
class Placed:
    orders: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.orders / self.seconds


class Peer:
    """The package on a database of its own."""

    def __init__(self, stage: Stage, name: str, products: int, *, threads: int, functions: bool) -> None:
        from bench.eventsourcing_orders import Shop, environment

        self.url = stage.database(name, migrated=False)
        self.environment = environment(self.url, threads=threads, functions=functions)
        self._threads = threads
        self._shop = Shop(self.environment)
        self._products: list[UUID] = [self._shop.add_product(number) for number in range(products)]
        self._user = str(uuid4())

    def place(self, seconds: float, number: int) -> Placed:
        """Place orders for some seconds; then make sure that they are there."""
        before = self._count()
        started = time.monotonic()

        def client(seed: int) -> int:
            chance = random.Random(seed)
            orders = 0
            while time.monotonic() - started < seconds:
                first, second = chance.sample(self._products, 2)
                self._shop.place_order(self._user, {first: 1 + orders % 3, second: 1 + orders % 2})
                orders += 1
            return orders

        with ThreadPoolExecutor(self._threads) as clients:
            placed = sum(clients.map(client, range(number * 100, number * 100 + self._threads)))
        done = Placed(placed, time.monotonic() - started)
        if (there := self._count() - before) != placed:
            raise BenchError(f"eventsourcing says that it placed {placed} orders, and has {there}")
        return done

    def events(self) -> int:
        """How many events it has stored."""
        return int(execute(self.url, "SELECT count(*) FROM shop_events")[0][0])

    def close(self) -> None:
        self._shop.close()

    def _count(self) -> int:
        return int(execute(self.url, "SELECT count(*) FROM shop_events WHERE topic LIKE '%Order.Placed'")[0][0])


def measure(stage: Stage, options: Options) -> Report:
    """All tables of this part. Raises BenchError when the package is not installed."""
    try:
        import eventsourcing  # noqa: F401
    except ImportError:
        raise BenchError("the package eventsourcing is not installed: make bench installs it") from None
    report = Report("peers")
    products = options.size(PRODUCTS, PRODUCTS_QUICK)
    ours = new_service(stage, "ours")
    ours.start()
    peers = {
        way: Peer(stage, f"peer_{number}", products, threads=threads, functions=functions)
        for number, (way, (threads, functions)) in enumerate(WAYS.items())
    }
    _orders(options, report, placing(ours, USUAL, options.seconds), peers)
    ours.stop()
    _projection(options, report, max(peers.values(), key=Peer.events))
    for peer in peers.values():
        peer.close()
    return report


def _orders(options: Options, report: Report, ours: Run, peers: dict[str, Peer]) -> None:
    def run(peer: Peer, number: int) -> Placed:
        return peer.place(options.seconds, number)

    ours(0)
    runs: dict[str, Callable[[int], Load | Placed]] = {"ours": ours}
    runs |= {way: partial(run, peer) for way, peer in peers.items()}
    results = alternate(runs, options.rounds)
    columns = ("contender", "orders a second", "lowest - highest", "ours is")
    table = Table("Placing orders: ours over HTTP (64 connections, worker beside), eventsourcing in process", columns)
    report.tables.append(table)
    ratios = {way: ratio(results["ours"], results[way], _rate) for way in peers}
    for name, placed in results.items():
        rates = [it.per_second for it in placed]
        label = name if name == "ours" else f"eventsourcing, {name}"
        share = f"{ratios[name]:.2f} x" if name in ratios else ""
        table.rows.append((label, median_of(placed, _rate), f"{min(rates):,.0f} - {max(rates):,.0f}", share))
        report.runs.append({"measured": "orders", "contender": label, "per_second": rates})
    report.figures["peers.vs_eventsourcing"] = min(ratios.values())


def _projection(options: Options, report: Report, peer: Peer) -> None:
    """The package's own runner, from event 1 of what was just placed."""
    from eventsourcing.projection import ProjectionRunner

    from bench.eventsourcing_orders import OrdersProjection, OrdersView, Shop

    events = min(options.size(PROJECTED_EVENTS, PROJECTED_EVENTS_QUICK), peer.events())
    started = time.monotonic()
    with ProjectionRunner(
        application_class=Shop, projection_class=OrdersProjection, view_class=OrdersView, env=peer.environment
    ) as runner:
        runner.wait(events, timeout=RUNNER_SECONDS_MAX)
        seconds = time.monotonic() - started
    table = Table("Projecting: eventsourcing's runner into three tables", ("events", "events a second"))
    table.note = "Ours: `visible` (live, through the worker) and `replay`."
    table.rows.append((events, events / seconds))
    report.tables.append(table)
    report.figures["peers.eventsourcing_projection"] = events / seconds


def _rate(done: Load | Placed) -> float:
    return done.per_second
