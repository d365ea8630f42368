"""`orders status`: how far behind the log the projections are, and what is in their way."""

import contextlib
import sys
import time
from datetime import UTC
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import connect
from service.cli.run import DataDir
from service.errors import OperatorError
from service.settings import Settings

if TYPE_CHECKING:
    from psycopg import Connection

    from projector.status import Standing, Status

# `orders status --watch` prints again after this long.
WATCH_SECONDS = 2.0
# Moves a terminal's cursor to the top left, and clears what is below it (ECMA-48: CUP, ED).
_CLEAR = "\x1b[H\x1b[J"
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON")]


def status(
    as_json: AsJson = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Print it again and again, until Ctrl-C")] = False,
    data_dir: DataDir = None,
) -> None:
    """Print the log's head, each projection's position and lag, its worker, and its last error."""
    if not watch:
        _print_status(as_json, data_dir)
        return
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            if sys.stdout.isatty():
                print(_CLEAR, end="")
            _print_status(as_json, data_dir)
            sys.stdout.flush()
            time.sleep(WATCH_SECONDS)


def _print_status(as_json: bool, data_dir: DataDir) -> None:
    url, redis_url = urls(data_dir)
    import psycopg

    from projector.mirror.standings import standings
    from projector.status import status as ask
    from query.views import timestamp
    from service.cli import output
    from service.projections import PROJECTIONS

    with connect.asking(url, "orders status") as connection:
        holders = _holders(connection)
        try:
            found = ask(connection, PROJECTIONS)
            mirrors = standings(connection, PROJECTIONS)
        except psycopg.errors.LockNotAvailable:
            reason = "; ".join(holders) or "by whom is not known"
            raise OperatorError(f"the checkpoint cannot be read, somebody has locked it: {reason}") from None
    workers, silence = _workers(redis_url)
    if as_json:
        log = {"log_uuid": found.log_uuid, "head": found.head, "recorded_at": timestamp(found.recorded_at)}
        projections = [_view(standing) for standing in (*found.projections, *mirrors)]
        told = {"log": log, "projections": projections, "in_the_way": holders}
        output.json(told | {"workers": workers, "redis_error": silence})
    else:
        _print(found, mirrors)
        for holder in holders:
            print(f"in the way: {holder}")
        listening = ", ".join(workers or []) or "none"
        print(f"workers that the bell reaches: {silence or listening}")


def _holders(connection: "Connection") -> list[str]:
    """The sessions that hold locks for which projectors, readers or writers wait."""
    from service.health.holders import HOLDERS, Holder
    from service.health.readiness import HELD_SECONDS_MIN

    return [str(Holder(*row)) for row in connection.execute(HOLDERS, {"seconds": HELD_SECONDS_MIN})]


def urls(data_dir: DataDir) -> tuple[str, str | None]:
    """DATABASE_URL, and REDIS_URL if there is one: without it `orders status` leaves out the workers."""
    given = Settings.load(data_dir=data_dir)
    if given.database_url:
        return given.database_url, given.redis_url
    return connect.urls(data_dir)


def _workers(redis_url: str | None) -> tuple[list[str] | None, str | None]:
    """The workers that listen to Redis; or else why that is not known."""
    if redis_url is None:
        return None, "REDIS_URL is not set"
    import redis

    from projector import bell

    try:
        return bell.workers(redis_url), None
    except redis.RedisError as error:
        return None, f"Redis cannot be asked ({str(error).splitlines()[0]})"


def _view(standing: "Standing") -> dict[str, object]:
    """As GET /projections has it, with what only operators see."""
    from query.views import timestamp
    from service.health.standings import view

    seen = {"worker": standing.worker, "seen_at": timestamp(standing.seen_at), "error": standing.error}
    return view(standing) | seen | {"reason": standing.trouble}


def _print(found: "Status", mirrors: "list[Standing]") -> None:
    from service.cli import output

    recorded = f", appended {found.recorded_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if found.head else ""
    print(f"log {found.log_uuid}: head at position {found.head:,}{recorded}")
    rows = [
        [
            it.name if it.mirror is None else f"{it.name} in {it.mirror}",
            f"{it.position:,}",
            f"{it.lag_events:,}",
            f"{it.lag_ms:,} ms",
            it.state,
            f"{(it.now - it.seen_at).total_seconds():.0f} s ago by {it.worker or 'nobody'}",
        ]
        for it in (*found.projections, *mirrors)
    ]
    output.table("projection", "position", "events behind", "time behind", "state", "last looked", rows=rows)
    for it in mirrors:
        if it.error:
            print(f"{it.name} in {it.mirror}: {it.error}")
    for it in found.projections:
        if it.trouble:
            print(f"{it.name}: {it.trouble}")
        if it.parked:
            print(f"{it.name}: {it.parked:,} streams are parked: orders parked")
