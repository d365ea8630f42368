"""Questions about the past: a resource at a version or a time, its explanation and history, the position of a time.

On a log with a product of a million events, whose name and price changed now and then. Asked one after another through
the functions that HTTP uses, so the times are the server's own without HTTP.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from datetime import datetime

from bench.history import head, write_events
from bench.options import BenchError, Options
from bench.report import Report, Table
from bench.stage import Stage, execute
from eventlog.ids import new_id
from projector.projections.shop import SHOP
from query.database import Reads
from timeline.comparing import compare
from timeline.reading import NOW, AsOf, Timeline, Version
from timeline.resources import explanation

QUESTIONS = 500
HISTORY_STEPS = 100

# One event a microsecond. The name changes once, early; the price every 200,000 events.
_PRODUCT = """
WITH head AS (
    UPDATE log.head
    SET position = position + %(length)s, recorded_at = recorded_at + %(length)s * interval '1 microsecond'
    RETURNING position - %(length)s AS base, recorded_at
)
INSERT INTO log.events (position, stream, version, type, schema_version, occurred_at, recorded_at, data, metadata)
SELECT base + n, %(stream)s, n, type, 1, at, at, data::json,
    '{"actor":{"kind":"key","id":"bench"},"command_id":"01890a5d-ac96-774b-bcce-b302099a8057"}'
FROM head, generate_series(1, %(length)s) AS n, LATERAL (
    SELECT recorded_at - (%(length)s - n) * interval '1 microsecond' AS at,
        CASE WHEN n = 1 THEN 'ProductAdded' WHEN n = 10 THEN 'ProductChanged'
            WHEN n %% 200000 = 5 THEN 'ProductRepriced' ELSE 'StockAdjusted' END AS type,
        CASE WHEN n = 1 THEN '{"sku":"LONG","name":"Long","price":"1.50","currency":"EUR","stock_kept":true}'
            WHEN n = 10 THEN '{"name":"Longer"}' WHEN n %% 200000 = 5 THEN '{"price":"2.50"}'
            ELSE '{"delta":1,"reason":"delivery","stock_after":' || n || '}' END AS data
) AS event
"""

# The product's row, and a checkpoint that has come so far.
_ROW = """
WITH reached AS (UPDATE shop.checkpoint SET position = (SELECT position FROM log.head))
INSERT INTO shop.products
    (id, sku, name, price, currency, stock, discontinued, version, created_at, updated_at)
SELECT %(id)s::text::uuid, 'LONG', 'Longer', 2.50, 'EUR', %(length)s, false, %(length)s,
    first.occurred_at, last.occurred_at
FROM log.events AS first JOIN log.events AS last USING (stream)
WHERE stream = 'product-' || %(id)s::text AND first.version = 1 AND last.version = %(length)s
"""

Ask = Callable[[int], Awaitable[object]]


def measure(stage: Stage, options: Options) -> Report:
    """Milliseconds of each question."""
    length = options.size(1_000_000, 20_000)
    url = stage.database("ask")
    write_events(url, options.size(2_000_000, 30_000))
    stream = f"product-{new_id()}"
    execute(url, _PRODUCT, {"length": length, "stream": stream})
    execute(url, "VACUUM (ANALYZE) log.events")
    execute(url, _ROW, {"id": stream.removeprefix("product-"), "length": length})
    stage.checkpoint()
    table = Table(
        f"questions about the past, on a log of {head(url):,} events with a product of {length:,}",
        ("question", "least ms", "p50 ms", "p95 ms"),
        note="one after another on one connection, without HTTP; the least is what a question takes on an idle machine",
    )
    report = Report("ask", [table])
    for question, times in asyncio.run(_asked(url, stream, length)).items():
        times.sort()
        p50, p95 = times[len(times) // 2], times[len(times) * 95 // 100]
        table.rows.append((question, times[0], p50, p95))
        report.figures[f"ask.{question.replace(' ', '_')}_ms"] = p50
    return report


async def _asked(url: str, stream: str, length: int) -> dict[str, list[float]]:
    chance = random.Random(1)
    first, last = execute(url, "SELECT min(recorded_at), max(recorded_at) FROM log.events")[0]
    ((order,),) = execute(url, "SELECT stream FROM log.events WHERE type = 'OrderPlaced' LIMIT 1")

    def some_time() -> datetime:
        moment: datetime = first + (last - first) * chance.random()
        return moment

    async with Reads(url) as reads:
        timeline = Timeline(reads)

        async def explain(_: int) -> None:
            explanation((await timeline.at(stream, NOW)).fields())

        async def compared(_: int) -> None:
            if not (await compare(reads, SHOP, stream)).equal:
                raise BenchError("the product's row differs from its fold")

        questions: dict[str, Ask] = {
            "position of a time": lambda _: timeline.position_at(some_time()),
            "product at a version": lambda _: timeline.at(stream, Version(chance.randint(1, length))),
            "product at a time": lambda _: timeline.at(stream, AsOf(some_time())),
            "product explained": explain,
            "product history page": lambda _: timeline.history(stream, chance.randint(0, length), HISTORY_STEPS),
            "product row equals fold": compared,
            "order at a time": lambda _: timeline.at(order, AsOf(some_time())),
        }
        return {question: await _timed(ask) for question, ask in questions.items()}


async def _timed(ask: Ask) -> list[float]:
    """The milliseconds of each of many questions, after some that warm up."""
    times = []
    for number in range(-20, QUESTIONS):
        began = time.perf_counter()
        await ask(number)
        if number >= 0:
            times.append((time.perf_counter() - began) * 1_000)
    return times
