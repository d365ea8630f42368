"""The same application behind different HTTP servers: CPU time of a request, and latency. See docs/decisions/0015."""

import sys
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec

from bench import load
from bench.contenders import Orders, new_service
from bench.load import Load
from bench.options import BenchError, Options
from bench.read import ids_of, paths_in
from bench.report import Report, Table
from bench.rounds import alternate, median_of
from bench.serve_behind import SERVERS
from bench.stage import Stage, free_port

CONNECTIONS = 64
WARM_UP_SECONDS = 1
MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent: a script of wrk and its arguments. `rejected`: by a process that has no room for it."""

    name: str
    script: str
    arguments: tuple[object, ...]
    rejected: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """One run: the load's figures, and the CPU time of the API process for one request in microseconds."""

    load: Load
    cpu_us: float


def measure(stage: Stage, options: Options) -> Report:
    """All tables of this part. Raises BenchError when granian is not installed."""
    if find_spec("granian") is None:
        raise BenchError("the package granian is not installed: make bench installs it")
    service = new_service(stage, "servers")
    service.start()
    users, products = service.ids.users, service.ids.products
    load.run(service.url, "place.lua", 4, WARM_UP_SECONDS, users, products, 1, "-")
    service.settle()
    service.stop()
    paths = paths_in(stage, "servers", (f"/orders/{id_}" for id_, _ in ids_of(service, "shop.orders")))
    report = Report("servers")
    columns = ("request", "server", "CPU us", "lowest - highest", "p50 ms", "p99 ms", "a second")
    note = "CPU us: CPU time of the API process, all its threads, in microseconds a request. No worker beside."
    table = Table(f"One application behind several HTTP servers, {CONNECTIONS} connections", columns, note=note)
    report.tables.append(table)
    for request in (
        Request("GET one order", "get.lua", (paths, 0)),
        Request("POST an order", "place.lua", (users, products, 0, "-")),
        Request("POST, rejected", "place.lua", (users, products, 0, "-"), rejected=True),
    ):
        runs = {server: partial(_run, stage, service, request, options.seconds, server) for server in SERVERS}
        for server, results in alternate(runs, options.rounds).items():
            cpu = [it.cpu_us for it in results]
            p50, p99 = (median_of(results, of) for of in (lambda it: it.load.p50_ms, lambda it: it.load.p99_ms))
            rate = median_of(results, lambda it: it.load.requests / it.load.seconds)
            spread = f"{min(cpu):,.1f} - {max(cpu):,.1f}"
            table.rows.append((request.name, server, median_of(results, _cpu_us), spread, p50, p99, rate))
            for it in results:
                run = {"measured": request.name, "contender": server, "cpu_us": it.cpu_us}
                report.runs.append(run | asdict(it.load))
    return report


def _cpu_us(measured: Measured) -> float:
    return measured.cpu_us


def _run(stage: Stage, service: Orders, request: Request, seconds: float, server: str, number: int) -> Measured:
    """Start the server, put load on it, and stop it. Raises BenchError when it does not answer as it should."""
    port = free_port()
    environment = {"DATABASE_URL": service.database_url, "REDIS_URL": service.redis_url, "PORT": str(port)}
    environment["NO_AUTH"] = "1"
    command = [sys.executable, "-P", "-m", "bench.serve_behind", server, *(["refusing"] if request.rejected else [])]
    api = stage.process(f"{server}-{number}", command, environment)
    url = f"http://127.0.0.1:{port}"
    api.start()
    try:
        api.wait_until_answers(f"{url}/healthz")
        load.run(url, request.script, CONNECTIONS, WARM_UP_SECONDS, *request.arguments)
        before = api.cpu_seconds()
        done = load.run(url, request.script, CONNECTIONS, seconds, *request.arguments)
        cpu_us = (api.cpu_seconds() - before) / done.requests * MICROSECONDS
    finally:
        api.stop()
    rejected = done.requests if request.rejected else 0
    if done.refused != rejected or done.broken:
        raise BenchError(f"{server}: {done.refused} of {done.requests} were rejected, {done.broken} got no answer")
    return Measured(done, cpu_us)
