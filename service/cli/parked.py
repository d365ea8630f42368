"""`orders parked`: the streams that are held back because an event of theirs cannot be projected, and what to do."""

import getpass
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli import connect
from service.cli.failures import NOT_TRUE
from service.cli.log import AsJson
from service.cli.run import DataDir
from service.errors import OperatorError

if TYPE_CHECKING:
    from psycopg import Connection

    from projector.parked import Drained, HeldBack

ERROR_SHOWN_MAX = 80


def parked(context: typer.Context, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List the streams that are parked because an event of theirs cannot be projected; retry them, or skip an event."""
    if context.invoked_subcommand is not None:
        return
    from projector.parked import held_back
    from service.cli import output

    with _database(data_dir) as connection:
        held = held_back(connection)
    if as_json:
        output.json({"data": [_view(it) for it in held]})
        return
    if not held:
        print("nothing is parked")
        return
    rows = [_row(it) for it in held]
    output.table("stream", "position", "version", "event", "held back", "for", "error", rows=rows)
    print(
        "after the cause is mended: orders parked retry; to do without an event: orders parked skip STREAM --reason ..."
    )


def retry(
    stream: Annotated[str | None, typer.Argument(help="One stream, with what waits for it; all when left out")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Project what was held back, in order, and then what waited for it. Exit code 1 if something still is parked."""
    from projector.parked import retry as again
    from service.cli import output

    with _database(data_dir) as connection:
        drained = again(connection, stream)
    if as_json:
        output.json({"data": [_outcome(it) for it in drained]})
    elif drained:
        output.table("stream", "events projected", "now", rows=[_tell(it) for it in drained])
    else:
        print("nothing is parked")
    if any(it.parked for it in drained):
        raise typer.Exit(NOT_TRUE)


def skip(
    stream: Annotated[str, typer.Argument(help="The parked stream")],
    reason: Annotated[str, typer.Option(help="Why the read tables can do without the event; it is recorded")],
    data_dir: DataDir = None,
) -> None:
    """Have the read tables do without the event that a stream is parked at, for good, and project the rest.

    The event stays in the log, and replays leave it out too. Without its first event a stream stays out altogether.
    """
    from projector.parked import skip as leave_out

    if not reason.strip():
        raise OperatorError("--reason must not be empty", 2)
    with _database(data_dir) as connection:
        event, drained = leave_out(connection, stream, reason.strip(), f"{getpass.getuser()}@{socket.gethostname()}")
    print(f"skipped event {event.position} ({event.type}, version {event.version} of {stream})")
    if drained.parked is None:
        print(f"{stream} is parked no more")
    elif drained.parked.skipped:
        print(f"{stream} stays out of the read tables: that was its first event")
    else:
        print(f"{stream} is parked at its next event: {_reason(drained.parked.error)}")
        raise typer.Exit(NOT_TRUE)


@contextmanager
def _database(data_dir: DataDir) -> "Iterator[Connection]":
    url = connect.database_url(data_dir)
    from psycopg.errors import LockNotAvailable

    from projector.loop import connect as connection_to
    from projector.parked import NotParked

    try:
        with connection_to(url) as connection:
            yield connection
    except NotParked as error:
        raise OperatorError(f"{error}; what is: orders parked") from None
    except LockNotAvailable:
        raise OperatorError("somebody has held the checkpoint for too long: orders doctor names them") from None


def _view(held: "HeldBack") -> dict[str, object]:
    from query.views import timestamp

    it = held.parked
    return {
        "stream": it.stream,
        "position": it.position,
        "version": it.version,
        "type": it.type,
        "error": it.error,
        "behind": it.behind,
        "parked_at": timestamp(held.parked_at),
        "age_seconds": round(held.age.total_seconds(), 3),
        "events_held_back": held.events,
    }


def _row(held: "HeldBack") -> list[str]:
    it = held.parked
    age = f"{held.age.total_seconds():,.0f} s"
    return [it.stream, f"{it.position:,}", str(it.version), it.type, f"{held.events:,} events", age, _reason(it.error)]


def _outcome(drained: "Drained") -> dict[str, object]:
    parked = drained.parked
    return {
        "stream": drained.stream,
        "events_projected": drained.events,
        "parked_at_version": parked.version if parked else None,
        "error": parked.error if parked else None,
    }


def _tell(drained: "Drained") -> list[str]:
    parked = drained.parked
    now = "projected" if parked is None else f"parked at version {parked.version}: {_reason(parked.error)}"
    return [drained.stream, f"{drained.events:,}", now]


def _reason(error: str) -> str:
    line = error.splitlines()[0] if error else ""
    return line if len(line) <= ERROR_SHOWN_MAX else line[: ERROR_SHOWN_MAX - 3] + "..."
