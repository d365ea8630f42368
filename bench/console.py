"""The console's pages and questions about the past on a large log: `python -m bench.console --events 10000000`.

PostgreSQL itself reports each statement, with its time and its plan as it was executed (auto_explain). So the table
shows what really ran, and the proof that nothing scans the log is in the plans: no sequential scan of log.events, and
no node that reads more than ROWS_MAX rows of it. The first requests of a page are left out, because they warm caches.
"""

import argparse
import http.client
import json
import re
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

from bench.history import write_events
from bench.options import BenchError
from bench.stage import Stage, execute, free_port
from projector.replay import replay
from service.projections import PROJECTIONS

STATEMENT_MS_MAX, PAGE_MS_MAX = 50.0, 100.0
ROWS_MAX = 20_000
WARM_UP, MEASURED = 2, 7
QUICK_EVENTS = 1_000_000
SHOWN_LENGTH = 70

# Of every statement, with the rows of each node. TIMING would cost more than many of these statements take.
_EXPLAIN = {
    "session_preload_libraries": "auto_explain",
    "auto_explain.log_min_duration": "0",
    "auto_explain.log_analyze": "on",
    "auto_explain.log_timing": "off",
    "auto_explain.log_format": "json",
}
_LOGGED = re.compile(r"duration: ([\d.]+) ms  plan:\n((?:\t.*\n)+)")


class Ran(NamedTuple):
    """A statement as it was executed."""

    text: str
    milliseconds: float
    plan: dict[str, Any]

    @property
    def scans(self) -> str | None:
        """How it scans the log; None if it does not."""
        for node in _nodes(self.plan):
            if node.get("Relation Name") == "events" and node.get("Schema", "log") == "log":
                rows = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
                if "Seq Scan" in node["Node Type"] or rows > ROWS_MAX:
                    return f"{node['Node Type']} of log.events, {rows:,.0f} rows"
        return None


def main() -> int:
    """Measure, and print. Returns the exit code: 0 within the limits, 1 not, or could not measure."""
    parser = argparse.ArgumentParser(prog="python -m bench.console", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000, help="length of the log [10,000,000]")
    parser.add_argument("--quick", action="store_true", help=f"a log of {QUICK_EVENTS:,} events")
    parser.add_argument("--directory", type=Path, help="where the servers keep their data while they run [TMPDIR]")
    parser.add_argument("--show", action="store_true", help="print each statement of each page")
    given = parser.parse_args()
    try:
        with Stage(given.directory) as stage:
            return _measure(stage, QUICK_EVENTS if given.quick else given.events, given.show)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1


def _measure(stage: Stage, events: int, show: bool) -> int:
    began = time.monotonic()
    url = stage.database("console")
    write_events(url, events)
    for projection in PROJECTIONS:
        replay(url, projection, lambda _: None)
    execute(url, "VACUUM (ANALYZE)")
    with psycopg.connect(url, autocommit=True) as connection:
        for name, value in _EXPLAIN.items():
            connection.execute(sql.SQL("ALTER DATABASE console SET {} = {}").format(sql.SQL(name), sql.Literal(value)))
    ((head, size),) = execute(url, "SELECT position, pg_database_size('console') FROM log.head")
    print(f"{head:,} events, {size / 1024**3:.1f} GiB, made in {time.monotonic() - began:.0f} s", flush=True)
    port = free_port()
    given = {"DATABASE_URL": url, "REDIS_URL": stage.redis_url(), "PORT": str(port), "NO_AUTH": "1", "CONSOLE": "1"}
    api = stage.process("api", [sys.executable, "-P", "-m", "service.cli", "serve"], given)
    api.start()
    api.wait_until_answers(f"http://127.0.0.1:{port}/healthz")
    faults = []
    print(f"{'page ms':>8} {'slowest statement ms':>20} {'statements':>10}  page")
    for path in _paths(url):
        faults += _page(port, path, stage.postgres.log_path, show)
    for fault in faults:
        print(f"over: {fault}")
    if not faults:
        print(f"every statement within {STATEMENT_MS_MAX:.0f} ms, every page within {PAGE_MS_MAX:.0f} ms, no scan")
    return 1 if faults else 0


def _paths(url: str) -> list[str]:
    """All pages, and the questions of the API about the past."""
    ((head, last, middle),) = execute(
        url,
        "SELECT head.position, head.recorded_at, middle.recorded_at FROM log.head AS head "
        "JOIN log.events AS middle ON middle.position = head.position / 2",
    )
    ids = {}
    for kind in ("order", "product", "user"):
        found = execute(
            url,
            "SELECT stream FROM log.events WHERE position > %(after)s AND stream LIKE %(kind)s "
            "ORDER BY position LIMIT 1",
            {"after": head // 2 if kind != "user" else 0, "kind": f"{kind}-%"},
        )
        ids[kind] = found[0][0].partition("-")[2]
    order, product, user = (f"/{kind}s/{ids[kind]}" for kind in ("order", "product", "user"))
    then = f"{middle:%Y-%m-%dT%H:%M:%SZ}"
    pages = [
        "/",
        "/?range=7+d",
        "/events",
        f"/events?before={head // 2}",
        "/events?type=OrderCancelled",
        "/events?type=UserRegistered",
        "/events?type=NoSuchType",
        f"/events?stream=product-{ids['product']}",
        f"/events?from={middle:%Y-%m-%d}&to={last + timedelta(days=1):%Y-%m-%d}",
        f"/events/{head // 2}",
        f"/events/{head}",
        order,
        f"{order}?version=1",
        f"{order}?as_of={then}",
        product,
        f"{product}?version=2",
        f"{product}?as_of={then}",
        user,
        "/find?q=user1@example.org",
        "/projections",
        "/parked",
        "/doctor",
        "/configuration",
    ]
    asked = [f"{it}{question}" for it in (order, product) for question in ("?version=1", "/history", "/explain")]
    return [*(f"/console{it}" for it in pages), *asked, f"/events?after={head // 2}", "/audit", "/projections"]


def _page(port: int, path: str, log: Path, show: bool) -> list[str]:
    """Measure one page, and print its line. Returns what is over the limits."""
    for _ in range(WARM_UP):
        _get(port, path)
    begins_at = log.stat().st_size
    times = sorted(_get(port, path) for _ in range(MEASURED))
    page = times[MEASURED // 2]
    ran = list(_statements(log, begins_at))
    by_text: dict[str, list[Ran]] = {}
    for it in ran:
        by_text.setdefault(it.text, []).append(it)
    medians = {text: sorted(it.milliseconds for it in found)[len(found) // 2] for text, found in by_text.items()}
    slowest = max(medians.values(), default=0.0)
    print(f"{page:8.1f} {slowest:20.2f} {len(ran) / MEASURED:10.1f}  {path}", flush=True)
    faults = [f"{path} takes {page:.0f} ms"] if page > PAGE_MS_MAX else []
    for text, milliseconds in medians.items():
        shown = " ".join(text.split())[:SHOWN_LENGTH]
        if show:
            print(f"{'':8} {milliseconds:20.2f} {'':10}    {shown}")
        if milliseconds > STATEMENT_MS_MAX:
            faults.append(f"{path}: {milliseconds:.0f} ms for {shown}")
        if scans := next((it.scans for it in by_text[text] if it.scans), None):
            faults.append(f"{path}: {scans} in {shown}")
    return faults


def _get(port: int, path: str) -> float:
    """The milliseconds until the answer is there. Raises BenchError for a fault of the server."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    began = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    taken = (time.perf_counter() - began) * 1_000
    connection.close()
    if answer.status >= 500:
        raise BenchError(f"{path} answered {answer.status}")
    return taken


def _statements(log: Path, begins_at: int) -> Iterator[Ran]:
    with log.open("rb") as file:
        file.seek(begins_at)
        text = file.read().decode(errors="replace")
    for milliseconds, plan in _LOGGED.findall(text):
        found = json.loads(plan)
        yield Ran(found["Query Text"], float(milliseconds), found["Plan"])


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


if __name__ == "__main__":
    sys.exit(main())
