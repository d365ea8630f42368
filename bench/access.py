"""The cost of a key: POST /orders and GET /orders/{id} with a key and without one, by turns: `python -m bench.access`.

Three APIs on one database: one demands keys, two run with NO_AUTH=1. The second of these is the control: its cost is
the noise of the machine. All are loaded over the same number of connections for the same time, and before a run the
worker has ended its work. Of two equal processes one may be several percent faster for as long as it runs, so all are
started anew after some rounds. A figure is the median of the rounds' quotients, with its 95 % confidence interval. Two
costs inside one interval cannot be told apart, and a cost that the control shows too does not come from the key.
"""

import argparse
import asyncio
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import uvloop

from access.issuing import Wanted, create
from bench.contenders import Orders, another_api, new_service
from bench.http_client import Answer, Connection
from bench.rounds import shown
from bench.stage import Stage

CONNECTIONS = 16
LINES = 2
COST_MAX = 1.03
_WITH_KEYS = {"NO_AUTH": "0", "WRITES_PER_MINUTE": "1000000000", "READS_PER_MINUTE": "1000000000"}


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
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contender before all start anew [5]")
    parser.add_argument("--starts", type=int, default=8, help="how often all are started [8]")
    parser.add_argument("--directory", type=Path, help="where the servers keep their data while they run [TMPDIR]")
    given = parser.parse_args(arguments)
    with Stage(given.directory) as stage:
        return uvloop.run(_measure(stage, given.seconds, given.rounds, given.starts))


async def _measure(stage: Stage, seconds: float, rounds: int, starts: int) -> int:
    ours = new_service(stage, "ours")
    ours.start()
    issued = await create(ours.database_url, Wanted("bench", "operator"), {"kind": "cli", "id": "0"})
    environment: dict[str, dict[str, str]] = {"none": {}, "control": {}, "key": _WITH_KEYS}
    header = {"none": "", "control": "", "key": f"Authorization: Bearer {issued.text}\r\n"}
    runs: dict[str, dict[str, list[Run]]] = {what: {name: [] for name in header} for what in _REQUESTS}
    for _ in range(starts):
        contenders = {
            name: Contender(another_api(stage, ours, name, environment[name]), header[name], []) for name in header
        }
        for what, request in _REQUESTS.items():
            for number in range(rounds + 1):
                for name, contender in contenders.items():
                    run = await _run(contender, request, seconds)
                    if number:  # the first round warms up
                        runs[what][name].append(run)
        for contender in contenders.values():
            contender.service.api.stop()
    return int(max(_told(what, found) for what, found in runs.items()) > COST_MAX)


def _told(what: str, runs: Mapping[str, Sequence[Run]]) -> float:
    """Print the costs. Returns the key's highest, as a quotient."""
    worst = 0.0
    for name in ("control", "key"):
        pairs = list(zip(runs["none"], runs[name], strict=True))
        quotients = {
            "throughput": [without.per_second / other.per_second for without, other in pairs],
            "p50": [other.p50_ms / without.p50_ms for without, other in pairs],
            "CPU": [other.cpu_us / without.cpu_us for without, other in pairs],
        }
        cpu_us = [other.cpu_us - without.cpu_us for without, other in pairs]
        if name == "key":
            worst = max(map(statistics.median, quotients.values()))
        per_second = statistics.median(it.per_second for it in runs[name])
        costs = "; ".join(f"{of} {shown([it * 100 - 100 for it in those], '%')}" for of, those in quotients.items())
        print(f"{what:<17} {name:<7} {per_second:6,.0f}/s: {costs}; CPU {shown(cpu_us, ' us a request')}", flush=True)
    return worst


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


_REQUESTS = {"POST /orders": _placing, "GET /orders/{id}": _reading}


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
