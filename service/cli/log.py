"""`orders events`: the log as it is."""

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from typing import Annotated

import typer
from msgspec import Raw, json
from psycopg import Connection

from eventlog.walk import end, exists, walk
from service.cli import connect
from service.cli.connect import DataDir
from service.cli.output import printable
from service.errors import OperatorError

EVENTS_SHOWN = 100
FOLLOW_SECONDS = 0.2


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
    with connect.asking(connect.database_url(data_dir), "orders events") as connection:
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


def _following(connection: Connection, stream: str | None, after: int | None) -> Iterator[Raw]:
    """Events behind `after` (None: the end), and those that are appended later, for ever. Raises psycopg.Error."""
    last = end(connection, stream) if after is None else after
    while True:
        for event in walk(connection, stream, last):
            last = json.decode(event)["version" if stream else "position"]
            yield event
        time.sleep(FOLLOW_SECONDS)


def _shown(event: Raw, as_json: bool) -> str:
    return printable(json.format(bytes(event), indent=-1)) if as_json else _line(json.decode(event))


def _line(event: dict[str, object]) -> str:
    """An event on one line, cut to the terminal if it is printed on one."""
    data = json.encode(event["data"]).decode()
    name = event["type"] if event["schema_version"] == 1 else f"{event['type']}.{event['schema_version']}"
    line = f"{event['position']:>8} {event['occurred_at']} {event['stream']} {event['version']:>4} {name} {data}"
    line = printable(line.encode())
    return line[: shutil.get_terminal_size().columns] if sys.stdout.isatty() else line
