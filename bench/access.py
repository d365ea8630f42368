"""The cost of a key: POST /orders and GET /orders/{id} with a key and without one, by turns: `python -m bench.access`.

Three services on one PostgreSQL, each with a database of its own: one demands keys, two run with NO_AUTH=1. The second
of these is the control: its cost is the noise of the machine. All are loaded over the same number of connections for
the same time, and before a run the worker of the last one has ended its work. A figure is the median of the rounds'
quotients, with its 95 % confidence interval. Two costs inside one interval cannot be told apart, and a cost that the
control shows too does not come from the key. A busy machine moves throughput and p50 by several percent; the CPU time
of the API's process for a request stays.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import uvloop

from access.issuing import Wanted, create
from bench.contenders import Orders, new_service
from bench.http_client import Answer, Connection
from bench.rounds import shown
from bench.stage import Stage

CONNECTIONS = 16
LINES = 2
COST_MAX = 1.03


class Run(NamedTuple):
    """What one run came to."""

    per_second: float
    p50_ms: float
    cpu_us: float  # of the API's process, for a request


class Contender(NamedTuple):
    service: Orders
    header: str
    orders: list[str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure. Returns 0 when a key costs no more than COST_MAX says, else 1."""
    parser = argparse.ArgumentParser(prog="python -m bench.access", description="Measure what a key costs.")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a run [0.5]")
    parser.add_argument("--rounds", type=int, default=40, help="runs of each contender [40]")
    parser.add_argument("--directory", type=Path, help="where the servers keep their data while they run [TMPDIR]")
    given = parser.parse_args(arguments)
    with Stage(given.directory) as stage:
        return uvloop.run(_measure(stage, given.seconds, given.rounds))


async def _measure(stage: Stage, seconds: float, rounds: int) -> int:
    contenders = {name: await _started(stage, name) for name in ("none", "control", "key")}
    worst = 0.0
    for what, request in (("POST /orders", _placing), ("GET /orders/{id}", _reading)):
        runs: dict[str, list[Run]] = {name: [] for name in contenders}
        for number in range(rounds + 1):
            for name in sorted(contenders, reverse=bool(number % 2)):
                run = await _run(contenders[name], request, seconds)
                if number:  # the first round warms up
                    runs[name].append(run)
        for name in ("control", "key"):
            pairs = list(zip(runs["none"], runs[name], strict=True))
            quotients = {
                "throughput": [without.per_second / other.per_second for without, other in pairs],
                "p50": [other.p50_ms / without.p50_ms for without, other in pairs],
                "CPU": [other.cpu_us / without.cpu_us for without, other in pairs],
            }
            cpu_us = [other.cpu_us - without.cpu_us for without, other in pairs]
            if name == "key":
                worst = max(worst, *map(statistics.median, quotients.values()))
            per_second = statistics.median(it.per_second for it in runs[name])
            costs = "; ".join(
                f"{what} {shown([it * 100 - 100 for it in those], '%')}" for what, those in quotients.items()
            )
            print(
                f"{what:<17} {name:<7} {per_second:5,.0f}/s: {costs}; CPU {shown(cpu_us, ' us a request')}", flush=True
            )
    return int(worst > COST_MAX)


async def _started(stage: Stage, name: str) -> Contender:
    service = new_service(stage, name, no_auth=name != "key")
    header = ""
    if name == "key":
        issued = await create(service.database_url, Wanted("bench", "operator"), {"kind": "cli", "id": "0"})
        header = f"Authorization: Bearer {issued.text}\r\n"
    service.start()
    contender = Contender(service, header, [])
    await _run(contender, _placing, 1.0)
    service.wait_until_projected()
    return contender


def _placing(contender: Contender) -> Callable[[int], bytes]:
    users, products = (
        path.read_text().split() for path in (contender.service.ids.users, contender.service.ids.products)
    )

    def request(number: int) -> bytes:
        items = [{"product_id": products[(number * 7 + it) % len(products)], "quantity": 1} for it in range(LINES)]
        body = json.dumps({"user_id": users[number % len(users)], "items": items}).encode()
        head = f"POST /orders HTTP/1.1\r\nHost: 127.0.0.1\r\n{contender.header}Content-Type: application/json\r\n"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    return request


def _reading(contender: Contender) -> Callable[[int], bytes]:
    def request(number: int) -> bytes:
        path = contender.orders[number % len(contender.orders)]
        return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{contender.header}\r\n".encode()

    return request


async def _run(contender: Contender, kind: Callable[[Contender], Callable[[int], bytes]], seconds: float) -> Run:
    request, numbers = kind(contender), itertools.count()
    waits: list[float] = []
    until = 0.0

    async def load() -> None:
        connection = await Connection.open(contender.service.url)
        while time.perf_counter() < until:
            sent = time.perf_counter()
            answer = await _answer(connection, request(next(numbers)))
            waits.append(time.perf_counter() - sent)
            if answer.status not in {200, 201}:
                raise ConnectionError(f"{contender.service.name} answered {answer.status}: {answer.body[:200]!r}")
            if answer.status == 201 and len(contender.orders) < 1_000:
                _, _, rest = answer.head.partition(b"\r\nlocation: ")
                contender.orders.append(rest.partition(b"\r\n")[0].decode())
        connection.close()

    await asyncio.to_thread(contender.service.settle)
    used, began = contender.service.api.cpu_seconds(), time.perf_counter()
    until = began + seconds
    await asyncio.gather(*(load() for _ in range(CONNECTIONS)))
    took, used = time.perf_counter() - began, contender.service.api.cpu_seconds() - used
    return Run(len(waits) / took, statistics.median(waits) * 1_000, used / len(waits) * 1e6)


async def _answer(connection: Connection, request: bytes) -> Answer:
    waiting: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()
    connection.exchange(request, waiting.set_result)
    answer = await waiting
    if answer is None:
        raise ConnectionError("the connection was closed before the answer came")
    return answer


if __name__ == "__main__":
    sys.exit(main())
