"""`orders events`: the log as it is."""

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated

import typer
from msgspec import Raw, json
from psycopg import Connection, OperationalError

from console import activity
from console.log import Wanted, page, position_at
from eventlog.events import SCHEMA_VERSIONS
from eventlog.walk import at_positions, end, exists, of_actor, version_at, walk
from service.cli import connect
from service.cli.output import printable
from service.cli.times import moment
from service.errors import MISUSE, OperatorError
from service.logs import escaped

EVENTS_SHOWN = 100
# `--follow` looks for new events after this long, or after longer while PostgreSQL is away.
FOLLOW_SECONDS, RETRY_SECONDS = 0.2, 1.0


def events(
    stream: Annotated[str | None, typer.Option(help="Only this stream, such as order-<id>")] = None,
    types: Annotated[
        list[str] | None, typer.Option("--type", help="Only events of this type, such as OrderPlaced; may be repeated")
    ] = None,
    actor: Annotated[
        str | None, typer.Option(help="Only events that this key caused, by its id; reads the log from --since on")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=moment, metavar="TIME", help="Only events recorded since: 2026-11-22T13:51:00Z, 30min, 12h"
        ),
    ] = None,
    after: Annotated[
        int | None, typer.Option(help="Only events behind this position; with --stream, behind this version", min=0)
    ] = None,
    limit: Annotated[int, typer.Option(help="How many at most; 0: all", min=0)] = EVENTS_SHOWN,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print new events as they come, until Ctrl-C")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line")] = False,
    data_dir: connect.DataDir = None,
) -> None:
    """Print the log, oldest first. With --follow: from the end of the log on, or from --after or --since."""
    if actor and (stream or follow):
        raise OperatorError("--actor goes with --type, --since and --after", exit_code=MISUSE)
    wanted = Wanted(tuple(types or ()), stream)
    url = connect.database_url(data_dir)
    with connect.asking(url, "orders events") as connection:
        _check(connection, wanted)
        if since is not None:
            after = max(after or 0, _end_before(connection, wanted, since))
        if follow:
            last = end(connection, stream) if after is None else after
            with contextlib.suppress(KeyboardInterrupt):
                _follow(url, wanted, last, as_json)
            return
        printed, last = 0, after or 0
        # One more than is printed tells whether there is more.
        found = (
            of_actor(connection, actor, wanted.types, last)
            if actor
            else _behind(connection, wanted, last, limit + 1 if limit else None)
        )
        for event in found:
            if limit and printed == limit:
                options = "".join(f"--type {it} " for it in wanted.types) + (f"--stream {stream} " if stream else "")
                options += f"--actor {actor} " if actor else ""
                print(f"there is more: orders events {options}--after {last}", file=sys.stderr)
                break
            print(_shown(event, as_json))
            printed, last = printed + 1, _place(event, wanted)


def _check(connection: Connection, wanted: Wanted) -> None:
    """Raises OperatorError for a stream or a type that the log does not have."""
    if wanted.stream is not None and not exists(connection, wanted.stream):
        raise OperatorError(f"there is no stream {wanted.stream}")
    known = {it.__name__ for it in SCHEMA_VERSIONS}
    for name in wanted.types:
        if name not in known and not activity.has(connection, name):
            raise OperatorError(f"there is no event type {name}; this release knows {', '.join(sorted(known))}")


def _end_before(connection: Connection, wanted: Wanted, time: datetime) -> int:
    """The last position, or version of the stream, that was recorded before a time."""
    last = position_at(connection, time - timedelta(microseconds=1))
    return last if wanted.stream is None else version_at(connection, wanted.stream, last)


def _behind(connection: Connection, wanted: Wanted, after: int, limit: int | None = None) -> Iterator[Raw]:
    """At most `limit` wanted events behind `after`, oldest first. Raises psycopg.Error.

    Events of a type are found through the projection `activity`, so that rare ones need no scan of the log.
    """
    if not wanted.types:
        yield from walk(connection, wanted.stream, after, limit)
        return
    onward: int | None = after
    while onward is not None:
        found = page(connection, wanted, after=onward)
        yield from at_positions(connection, [it.position for it in found.events])
        onward = found.newer


def _follow(url: str, wanted: Wanted, last: int, as_json: bool) -> None:
    """Print the events behind `last`, and those that are appended later, for ever; goes on after an outage."""
    is_away = False
    while True:
        try:
            with connect.asking(url, "orders events") as connection:
                while True:
                    for event in _behind(connection, wanted, last):
                        print(_shown(event, as_json), flush=True)
                        last = _place(event, wanted)
                    is_away = False
                    time.sleep(FOLLOW_SECONDS)
        except OperationalError as error:
            if not is_away:
                said = escaped(str(error).partition("\n")[0])
                print(f"orders: PostgreSQL: {said}; events go on when it answers, Ctrl-C ends", file=sys.stderr)
            is_away = True
            time.sleep(RETRY_SECONDS)


def _place(event: Raw, wanted: Wanted) -> int:
    """The event's position; its version if one stream is wanted."""
    place: int = json.decode(event)["version" if wanted.stream else "position"]
    return place


def _shown(event: Raw, as_json: bool) -> str:
    return printable(json.format(bytes(event), indent=-1)) if as_json else _line(json.decode(event))


def _line(event: dict[str, object]) -> str:
    """An event on one line, cut to the terminal if it is printed on one."""
    data = json.encode(event["data"]).decode()
    name = event["type"] if event["schema_version"] == 1 else f"{event['type']}.{event['schema_version']}"
    line = f"{event['position']:>8} {event['occurred_at']} {event['stream']} {event['version']:>4} {name} {data}"
    line = printable(line.encode()).replace("\n", "\\n")  # no type or stream of ours has one
    return line[: shutil.get_terminal_size().columns] if sys.stdout.isatty() else line
