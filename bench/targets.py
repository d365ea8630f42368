"""What the service is meant to reach: ratios, because those travel from machine to machine, and a few limits."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.report import Table


@dataclass(frozen=True, slots=True)
class Target:
    """`figure` is a name in a Report; `at_most` tells which side of `bound` is the good one."""

    what: str
    figure: str
    bound: float
    unit: str = "x"
    at_most: bool = False

    def is_reached(self, reached: float) -> bool:
        return reached <= self.bound if self.at_most else reached >= self.bound


TARGETS = (
    Target("place orders, 64 connections, to plain CRUD", "write.vs_crud", 14),
    Target("place orders on one hot pair, to plain CRUD on it", "write.hot_vs_crud", 20),
    Target("place orders, to tuned CRUD", "write.vs_tuned", 3),
    Target("place orders, share of the framework's ceiling", "write.vs_ceiling", 0.65),
    Target("with an Idempotency-Key, share of without", "write.keyed_vs_plain", 0.85),
    Target("p99 at 64 connections, to plain CRUD's", "write.p99_vs_crud", 0.1, at_most=True),
    Target("two processes, to one", "write.two_processes_vs_one", 1),
    Target("two processes, conflicts that reached a client", "write.two_processes_refused", 0, "", at_most=True),
    Target("GET one order, to plain CRUD", "read.one_vs_crud", 12),
    Target("GET one order, share of the framework's ceiling", "read.one_vs_ceiling", 0.8),
    Target("GET 50 orders, 16 connections, to plain CRUD", "read.page_vs_crud", 14),
    Target("filtered page, time at 1 million orders to 10 thousand", "read.filtered_growth", 1.3, at_most=True),
    Target("one order, time at 1 million orders to 10 thousand", "read.one_growth", 1.3, at_most=True),
    Target("answer to visible, p99 at 50 orders/s", "visible.p99_ms_50", 20, "ms", at_most=True),
    Target("answer to visible, p99 at 500 orders/s", "visible.p99_ms_500", 20, "ms", at_most=True),
    Target("live catching up", "visible.catch_up", 60_000, "events/s"),
    Target("replay, share of pure SQL", "replay.vs_sql", 0.8),
    Target("replay of all projections, time to that of shop alone", "replay.upkeep", 1.1, at_most=True),
    Target("replay of 5 million events, peak memory", "replay.peak_mib_large", 128, "MiB", at_most=True),
    Target("replay's peak memory, 5 million events to 1 million", "replay.peak_growth", 1.2, at_most=True),
    Target("append, time at 10 million events to 10 thousand", "growth.append", 1.25, at_most=True),
    Target("load a stream, time of 1 million events to 10", "growth.stream", 1.25, at_most=True),
    Target("API's memory, after 200,000 orders to 20,000", "growth.api_memory", 1.1, at_most=True),
    Target("worker's memory, after 200,000 orders to 20,000", "growth.worker_memory", 1.1, at_most=True),
    Target("mirror in SQLite, catching up", "mirror.catch_up_sqlite", 40_000, "events/s"),
    Target("mirror in MariaDB, catching up", "mirror.catch_up_mariadb", 30_000, "events/s"),
    Target("mirror in SQLite, p99 of its lag at 500 orders/s", "mirror.lag_p99_ms_sqlite", 250, "ms", at_most=True),
    Target("mirror in MariaDB, p99 of its lag at 500 orders/s", "mirror.lag_p99_ms_mariadb", 250, "ms", at_most=True),
    Target("orders over HTTP, to eventsourcing's in process", "peers.vs_eventsourcing", 8),
)


def summary(figures: Mapping[str, float]) -> Table:
    """The targets whose figures were measured."""
    table = Table("Targets", ("target", "reached", "aim", ""))
    for target in TARGETS:
        if target.figure in figures:
            reached = figures[target.figure]
            aim = f"{'at most' if target.at_most else 'at least'} {target.bound:,g} {target.unit}".rstrip()
            verdict = "reached" if target.is_reached(reached) else "MISSED"
            table.rows.append((target.what, f"{reached:,.2f} {target.unit}".rstrip(), aim, verdict))
    return table
