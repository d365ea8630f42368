"""`orders events` and `orders status`: the log as it is, and how far behind it the projections are."""

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import UTC
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import connect
from service.cli.run import DataDir
from service.errors import OperatorError
from service.settings import Settings

if TYPE_CHECKING:
    from msgspec import Raw
    from psycopg import Connection

    from projector.status import Standing, Status

EVENTS_SHOWN = 100
FOLLOW_SECONDS = 0.2
WATCH_SECONDS = 2.0
# Moves a terminal's cursor to the top left, and clears what is below it (ECMA-48: CUP, ED).
_CLEAR = "\x1b[H\x1b[J"
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON")]


def events(
    stream: Annotated[str | None, typer.Option(help="Only this stream, such as order-<id>")] = None,
    after: Annotated[
        int | None, typer.Option(help="Only events behind this position; with --stream, behind this version", min=0)
    ] = None,
    limit: Annotated[int, typer.Option(help="How many at most; 0: all", min=0)] = EVENTS_SHOWN,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new events as they come, until Ctrl-C")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line")] = False,
    data_dir: DataDir = None,
) -> None:
    """Print the log, oldest first. With --follow: from the end of the log on, or from --after."""
    url = connect.database_url(data_dir)
    from msgspec import json

    from eventlog.walk import exists, walk

    with connect.asking(url, "orders events") as connection:
        if stream is not None and not exists(connection, stream):
            raise OperatorError(f"there is no stream {stream}")
        if follow:
            with contextlib.suppress(KeyboardInterrupt):
                for event in _following(connection, stream, after):
                    print(_shown(event, as_json), flush=True)
            return
        printed, last = 0, after or 0
        # One more than is printed tells whether there is more.
        for event in walk(connection, stream, last, limit + 1 if limit else None):
            if limit and printed == limit:
                where = f"--stream {stream} --after {last}" if stream else f"--after {last}"
                print(f"there is more: orders events {where}", file=sys.stderr)
                break
            print(_shown(event, as_json))
            printed, last = printed + 1, json.decode(event)["version" if stream else "position"]


def _following(connection: "Connection", stream: str | None, after: int | None) -> Iterator["Raw"]:
    """Events behind `after` (None: the end), and those that are appended later, for ever. Raises psycopg.Error."""
    from msgspec import json

    from eventlog.walk import end, walk

    last = end(connection, stream) if after is None else after
    while True:
        for event in walk(connection, stream, last):
            last = json.decode(event)["version" if stream else "position"]
            yield event
        time.sleep(FOLLOW_SECONDS)


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
    url, redis_url = _urls(data_dir)
    import psycopg

    from projector.status import status as ask
    from query.views import timestamp
    from service.cli import output

    with connect.asking(url, "orders status") as connection:
        holders = _holders(connection)
        try:
            found = ask(connection)
        except psycopg.errors.LockNotAvailable:
            reason = "; ".join(holders) or "by whom is not known"
            raise OperatorError(f"the checkpoint cannot be read, somebody has locked it: {reason}") from None
    workers, silence = _workers(redis_url)
    if as_json:
        log = {"log_uuid": found.log_uuid, "head": found.head, "recorded_at": timestamp(found.recorded_at)}
        projections = [_view(standing, found.replaying) for standing in found.projections]
        told = {"log": log, "projections": projections, "in_the_way": holders}
        output.json(told | {"workers": workers, "redis_error": silence})
    else:
        _print(found)
        for holder in holders:
            print(f"in the way: {holder}")
        listening = ", ".join(workers or []) or "none"
        print(f"workers that the bell reaches: {silence or listening}")


def _holders(connection: "Connection") -> list[str]:
    """Who holds what projectors, readers or writers wait for."""
    from service.health import HELD_SECONDS_MIN
    from service.holders import HOLDERS, Holder

    return [str(Holder(*row)) for row in connection.execute(HOLDERS, {"seconds": HELD_SECONDS_MIN})]


def _reason(standing: "Standing") -> str | None:
    """Why the projection does not follow the log, as /readyz tells it."""
    from query.projections import Head, Projection
    from service.health import trouble

    return trouble(Projection(*standing.checkpoint), Head(standing.head, standing.waiting_since))


def _urls(data_dir: DataDir) -> tuple[str, str | None]:
    """DATABASE_URL, and REDIS_URL if there is one: status has something to tell without it."""
    given = Settings.load(data_dir=data_dir)
    if given.database_url:
        return given.database_url, given.redis_url
    return connect.urls(data_dir)


def _workers(redis_url: str | None) -> tuple[list[str] | None, str | None]:
    """The workers that Redis knows of, or why it was not asked."""
    if redis_url is None:
        return None, "REDIS_URL is not set"
    import redis

    from projector import bell

    try:
        return bell.workers(redis_url), None
    except redis.RedisError as error:
        return None, f"Redis cannot be asked ({str(error).splitlines()[0]})"


def _view(standing: "Standing", replaying: bool) -> dict[str, object]:
    """As GET /projections has it, with what only operators are told."""
    from query.projections import Head, Projection, view
    from query.views import timestamp

    at = standing.checkpoint
    seen = view(
        Projection(*at),
        Head(standing.head, standing.waiting_since),
        replaying,
    )
    told = {"worker": at.worker, "seen_at": timestamp(at.seen_at), "error": at.error}
    return seen | told | {"reason": _reason(standing)}


def _print(found: "Status") -> None:
    from service.cli import output

    recorded = f", appended {found.recorded_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if found.head else ""
    print(f"log {found.log_uuid}: head at position {found.head:,}{recorded}")
    rows = []
    for standing in found.projections:
        view = _view(standing, found.replaying)
        at = standing.checkpoint
        looked = f"{(at.now - at.seen_at).total_seconds():.0f} s ago by {at.worker or 'nobody'}"
        rows.append(
            [
                at.name,
                f"{at.position:,}",
                f"{view['lag_events']:,}",
                f"{view['lag_ms']:,} ms",
                str(view["state"]),
                looked,
            ]
        )
    output.table("projection", "position", "events behind", "time behind", "state", "last looked", rows=rows)
    for standing in found.projections:
        if reason := _reason(standing):
            print(f"{standing.checkpoint.name}: {reason}")
        if parked := standing.checkpoint.parked:
            print(f"{standing.checkpoint.name}: {parked:,} streams are parked: orders parked")


def _shown(event: "Raw", as_json: bool) -> str:
    from msgspec import json

    return json.format(event, indent=-1).decode() if as_json else _line(json.decode(event))


def _line(event: dict[str, object]) -> str:
    """An event on one line, cut to the terminal if it is printed on one."""
    from msgspec import json

    data = json.encode(event["data"]).decode()
    name = event["type"] if event["schema_version"] == 1 else f"{event['type']}.{event['schema_version']}"
    line = f"{event['position']:>8} {event['occurred_at']} {event['stream']} {event['version']:>4} {name} {data}"
    # JSON has escaped the control characters below 32; a terminal obeys some above as well.
    line = "".join([it if it.isprintable() else f"\\u{ord(it):04x}" for it in line])
    return line[: shutil.get_terminal_size().columns] if sys.stdout.isatty() else line
