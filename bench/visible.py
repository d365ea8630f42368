"""How soon the worker shows an order, what it costs, and how fast it catches up: the real Dramatiq worker.

How soon is from the answer to POST to the first GET that shows the order. Open loop: orders are sent on time, whether
earlier ones were answered or not. Up to fifty orders a second are watched: from the moment their POST is answered, GET
is sent again a millisecond after each 404, without a Sync-Token.
"""

import asyncio
import json
import random
import statistics
import time
from dataclasses import dataclass, field

import redis
import uvloop

from bench.contenders import Orders, new_service, real_service
from bench.history import EVENTS_AN_ORDER, write_history
from bench.http_client import Connection, Pool
from bench.options import BenchError, Options
from bench.report import Report, Table
from bench.stage import Stage

RATES = (50, 500, 2_000)
# Rates at which a worker should cost next to nothing.
LOW_RATES = (0, 4, 50)
WATCHED_A_SECOND = 50
POLL_SECONDS = 0.001
CONNECTIONS_MAX = 512
# A thousand watched orders make a p99 of ten.
SECONDS_MIN = 20
LATE_SECONDS_MAX = 10
BACKLOG_EVENTS = 200_000
LOOK_SECONDS = 0.002


@dataclass(slots=True)
class Seen:
    """Milliseconds from the answer to the first GET that shows the order, and of the POST itself."""

    visible_ms: list[float] = field(default_factory=list)
    answered_ms: list[float] = field(default_factory=list)
    refused: int = 0

    def percentile(self, of: list[float], percent: int) -> float:
        return statistics.quantiles(of, n=100, method="inclusive")[percent - 1]


def measure(stage: Stage, options: Options) -> Report:
    """All tables of this part."""
    report = Report("visible")
    ours = new_service(stage, "ours")
    ours.start()
    _visible(options, report, ours)
    _cost(options, report, ours)
    ours.stop()
    _catch_up(stage, options, report)
    return report


def _visible(options: Options, report: Report, ours: Orders) -> None:
    columns = (
        "orders a second",
        "visible p50 ms",
        "visible p99 ms",
        "worst ms",
        "POST p50 ms",
        "POST p99 ms",
        "refused",
    )
    note = "From the answer of POST to the first GET that shows the order; medians of the rounds."
    table = Table("Answer to visible", columns, note=note)
    report.tables.append(table)
    seconds = options.seconds if options.quick else max(SECONDS_MIN, options.seconds)
    uvloop.run(drive(ours, RATES[0], 2))
    for rate in RATES:
        rounds: list[tuple[float, ...]] = []
        refused = 0
        for number in range(options.rounds):
            seen = uvloop.run(drive(ours, rate, seconds, number))
            visible, answered = seen.visible_ms, seen.answered_ms
            figures = (
                seen.percentile(visible, 50),
                seen.percentile(visible, 99),
                max(visible),
                seen.percentile(answered, 50),
                seen.percentile(answered, 99),
            )
            refused += seen.refused
            rounds.append(figures)
            report.runs.append({"measured": f"visible at {rate}/s", "round": number, "figures": figures})
            ours.wait_until_projected()
        medians = [statistics.median(values) for values in zip(*rounds, strict=True)]
        table.rows.append((rate, *medians, refused))
        report.figures[f"visible.p50_ms_{rate}"] = medians[0]
        report.figures[f"visible.p99_ms_{rate}"] = medians[1]


def _cost(options: Options, report: Report, ours: Orders) -> None:
    """What the worker and Valkey cost when there is nothing to do, and when there is little."""
    table = Table("CPU, percent of one core", ("orders a second", "worker", "Valkey"))
    table.note = "All processes of the worker; medians of the rounds."
    report.tables.append(table)
    seconds = options.seconds if options.quick else max(SECONDS_MIN, options.seconds)
    with redis.Redis.from_url(ours.redis_url) as client:
        for rate in LOW_RATES:
            rounds: list[tuple[float, float]] = []
            for number in range(options.rounds):
                began, worker, valkey = time.perf_counter(), ours.worker.cpu_seconds(), _cpu_seconds(client)
                if rate:
                    uvloop.run(drive(ours, rate, seconds, number))
                else:
                    time.sleep(seconds)
                percent = 100 / (time.perf_counter() - began)
                figures = (
                    (ours.worker.cpu_seconds() - worker) * percent,
                    (_cpu_seconds(client) - valkey) * percent,
                )
                rounds.append(figures)
                report.runs.append({"measured": f"CPU at {rate}/s", "round": number, "percent": figures})
                ours.wait_until_projected()
            table.rows.append((rate, *(statistics.median(values) for values in zip(*rounds, strict=True))))


def _cpu_seconds(client: redis.Redis) -> float:
    info = client.info("cpu")
    return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])


async def drive(service: Orders, rate: int, seconds: float, seed: int = 0) -> Seen:
    """Send orders at a rate, and watch some of them."""
    users, products = (path.read_text().split() for path in (service.ids.users, service.ids.products))
    chance = random.Random(seed)
    seen = Seen()
    pool = Pool(service.url, CONNECTIONS_MAX)
    every = max(1, rate // WATCHED_A_SECOND)

    async def order(body: bytes, due: float, watch: bool) -> None:
        async with pool.connection() as connection:
            answer = await connection.post("/orders", body)
            answered = time.perf_counter()
            seen.answered_ms.append((answered - due) * 1000)
            if answer.status != 201:
                seen.refused += 1
            elif watch:
                await _until_seen(connection, f"/orders/{json.loads(answer.body)['id']}", answered)
                seen.visible_ms.append((time.perf_counter() - answered) * 1000)

    try:
        async with asyncio.TaskGroup() as tasks:
            start = time.perf_counter()
            for number in range(round(rate * seconds)):
                items = [{"product_id": it, "quantity": 1} for it in chance.sample(products, 2)]
                body = json.dumps({"user_id": chance.choice(users), "items": items}).encode()
                due = start + number / rate
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                elif number % 16 == 0:
                    await asyncio.sleep(0)
                # From when it was due, not from when we got round to it: a server that stalls us is not excused.
                tasks.create_task(order(body, due, number % every == 0))
    except ExceptionGroup as group:
        if group.split((BenchError, OSError))[1]:
            raise
        raise BenchError(str(group.exceptions[0])) from group
    pool.close()
    return seen


async def _until_seen(connection: Connection, path: str, answered: float) -> None:
    while (await connection.get(path)).status != 200:
        if time.perf_counter() - answered > LATE_SECONDS_MAX:
            raise BenchError(f"{path} is not to be seen after {LATE_SECONDS_MAX} s")
        await asyncio.sleep(POLL_SECONDS)


def _catch_up(stage: Stage, options: Options, report: Report) -> None:
    """Start the worker on a log whose events are all still to be projected."""
    template = stage.database("backlog")
    backlog = options.size(BACKLOG_EVENTS, 20_000)
    events = write_history(template, round(backlog / EVENTS_AN_ORDER))
    rates: list[float] = []
    for number in range(options.rounds):
        name = f"backlog_{number}"
        service = real_service(stage, name, stage.database(name, template="backlog"))
        service.worker.start()
        rates.append(_rate_of(service))
        service.worker.stop()
        stage.drop(name)
    table = Table("Live catching up", ("events", "events a second", "lowest - highest"))
    table.note = "The real worker process, from the first batch that it commits to the head of the log."
    table.rows.append((events, statistics.median(rates), f"{min(rates):,.0f} - {max(rates):,.0f}"))
    report.tables.append(table)
    report.figures["visible.catch_up"] = statistics.median(rates)
    report.runs.append({"measured": "catch up", "events_per_second": rates})


def _rate_of(service: Orders) -> float:
    """Events a second; the start of the process does not count, nor the batch that it is first seen to have done."""
    first: tuple[int, float] | None = None
    while service.worker.is_running:
        position, head = service.position()
        now = time.perf_counter()
        if first is None and position:
            first = (position, now)
        if first is not None and position == head:
            return (head - first[0]) / max(now - first[1], 1e-9)
        time.sleep(LOOK_SECONDS)
    raise BenchError(f"the worker ended: {service.worker.last_line()}")
