"""`orders parked`: the streams that are held back because an event of theirs cannot be projected, and what to do."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from psycopg import Connection
from psycopg.errors import LockNotAvailable

from console.words import counted
from contract.times import rfc3339
from projector.connecting import connect as connection_to
from projector.loop import Loop
from projector.parked import Drained, Group, HeldBack, NotParked, groups, held_back, skip_group
from projector.parked import retry as again
from projector.parked import skip as leave_out
from projector.parking import Parked
from projector.projection import Projection
from service.cli import acting, connect, output
from service.embedded.account import name_of
from service.errors import MISUSE, NOT_TRUE, OperatorError
from service.projections import named

ERROR_SHOWN_MAX = 80
STREAMS_SHOWN_MAX = 50

Of = Annotated[list[str] | None, typer.Option("--projection", help="Only this projection; may be repeated")]
Stream = Annotated[str | None, typer.Argument(help="A parked stream")]
GroupName = Annotated[str | None, typer.Option("--group", help="The group with this name in `orders parked`")]

app = typer.Typer(name="parked", add_completion=False)


@app.callback(invoke_without_command=True, epilog="Example: orders parked --json")
def parked(
    context: typer.Context, projection: Of = None, as_json: output.AsJson = False, data_dir: connect.DataDir = None
) -> None:
    """List the streams that are parked because an event of theirs cannot be projected; retry them, or skip an event."""
    if context.invoked_subcommand is not None:
        return
    chosen = named(projection)
    with _database(connect.database_url(data_dir)) as connection:
        most = None if as_json else STREAMS_SHOWN_MAX
        held = {it.name: held_back(connection, it, most=most) for it in chosen}
        grouped = groups(connection, chosen)
    if as_json:
        data = [_view(name, it) for name, some in held.items() for it in some]
        output.json({"data": data, "groups": [{"group": it.name, **it._asdict()} for it in grouped]})
        return
    if not grouped:
        print("nothing is parked")
        return
    rows = [_row(name, it) for name, some in held.items() for it in some]
    shown = rows[:STREAMS_SHOWN_MAX]
    output.table("projection", "stream", "position", "version", "event", "held back", "for", "error", rows=shown)
    if (more := sum(it.streams for it in grouped) - len(shown)) > 0:
        print(f"... and {more:,} more: --json shows all")
    some = grouped[:STREAMS_SHOWN_MAX]
    of_groups = [[it.name, it.projection, f"{it.streams:,}", it.type, _reason(it.said)] for it in some]
    output.table("group", "projection", "streams", "event", "error", rows=of_groups)
    if more := len(grouped) - len(some):
        print(f"... and {more:,} more groups: --json shows all")
    print("after the cause is mended: orders parked retry, or retry --group GROUP")
    print("to do without an event: orders parked skip STREAM --reason ..., or skip --group GROUP")


@app.command(epilog="Example: orders parked retry --group 3f2a9c1e")
def retry(
    stream: Stream = None,
    group: GroupName = None,
    projection: Of = None,
    as_json: output.AsJson = False,
    data_dir: connect.DataDir = None,
) -> None:
    """Project what was held back, in order, and then what waited for it: of a stream, of a group, or all.

    Exit code 1 if something still is parked.
    """
    if stream is not None and group is not None:
        raise OperatorError("give a stream or --group, not both", MISUSE)
    chosen, wanted = named(projection), None
    url = connect.database_url(data_dir)
    with _database(url) as connection:
        if group is not None:
            wanted, of_group = _group(connection, chosen, group)
            chosen = [of_group]
        elif stream is not None:
            chosen = _with(connection, chosen, stream)
        drained = [(it.name, one) for it in chosen for one in again(connection, Loop(it), stream, group=wanted)]
    if drained:
        acting.note(url, "stream.retried", stream or counted(len(drained), "stream"))
    if as_json:
        output.json({"data": [_outcome(name, it) for name, it in drained]})
    elif drained:
        shown = drained[:STREAMS_SHOWN_MAX]
        output.table("projection", "stream", "events projected", "now", rows=[_tell(name, it) for name, it in shown])
        if len(drained) > len(shown):
            left = sum(it.parked is not None for _, it in drained)
            print(f"... {len(drained):,} streams in all, {left:,} of them still parked: --json shows all")
    else:
        print("nothing is parked")
    if any(it.parked for _, it in drained):
        raise typer.Exit(NOT_TRUE)


@app.command(epilog='Example: orders parked skip order-0190... --reason "an order of the load test"')
def skip(
    reason: acting.SkipReason,
    stream: Stream = None,
    group: GroupName = None,
    projection: Of = None,
    data_dir: connect.DataDir = None,
) -> None:
    """Skip the event at which a stream is parked, for good, and project the rest of the stream.

    The event stays in the log, and replays leave it out too. Without its first event a stream stays out altogether.
    With --group this is done for each stream of the group. Exit code 1 if one of them is parked at its next event.
    """
    if (stream is None) == (group is None):
        raise OperatorError("give a stream or --group", MISUSE)
    by = f"{name_of(os.getuid())}@{socket.gethostname()}"
    url = connect.database_url(data_dir)
    chosen = named(projection)
    with _database(url) as connection:
        if stream is not None:
            where = _with(connection, chosen, stream)
            if len(where) > 1:
                names = ", ".join(it.name for it in where)
                raise OperatorError(f"{stream} is parked in {names}: name one with --projection", MISUSE)
            skipped_in = where[0]
            skipped = [leave_out(connection, Loop(skipped_in), stream, reason.strip(), by)]
            acting.note(url, "event.skipped", f"{skipped_in.name} {stream} {skipped[0][0].version}", reason.strip())
        else:
            wanted, skipped_in = _group(connection, chosen, str(group))
            skipped = list(skip_group(connection, Loop(skipped_in), wanted, reason.strip(), by))
            target = f"{skipped_in.name} {wanted.type}: {counted(len(skipped), 'stream')}"
            acting.note(url, "group.skipped", target, reason.strip())
    _tell_skipped(skipped_in, skipped)
    if stream is not None and skipped[0][1].parked is None:
        output.line(f"{stream} is no longer parked")
    if any(it.parked and not it.parked.skipped for _, it in skipped):
        raise typer.Exit(NOT_TRUE)


def _tell_skipped(projection: Projection, skipped: list[tuple[Parked, Drained]]) -> None:
    for it, _ in skipped[:STREAMS_SHOWN_MAX]:
        output.line(f"{projection.name} skips event {it.position} ({it.type}, version {it.version} of {it.stream})")
    if (more := len(skipped) - STREAMS_SHOWN_MAX) > 0:
        print(f"... and {counted(more, 'event')} more of the type {skipped[0][0].type}")
    left = [it.parked for _, it in skipped if it.parked]
    if out := sum(it.skipped for it in left):
        stay = counted(out, "stream stays", "streams stay")
        print(f"{stay} out of the read tables: that was {'its' if out == 1 else 'their'} first event")
    if again := [it for it in left if not it.skipped]:
        still = counted(len(again), "stream is", "streams are")
        output.line(f"{still} parked at a later event ({_reason(again[0].error)}): orders parked")


def _group(connection: Connection, chosen: list[Projection], name: str) -> tuple[Group, Projection]:
    """The group with this name in `orders parked`, and its projection. Raises OperatorError if there is none."""
    group = next((it for it in groups(connection, chosen) if it.name == name), None)
    if group is None:
        raise OperatorError(f"no group {name!r} is parked: orders parked lists the groups by name")
    (projection,) = named([group.projection])
    return group, projection


def _with(connection: Connection, projections: list[Projection], stream: str) -> list[Projection]:
    """The projections in which the stream is parked. Raises OperatorError if there is none."""
    found = [it for it in projections if held_back(connection, it, stream=stream)]
    if not found:
        raise OperatorError(f"{stream} is not parked; what is: orders parked")
    return found


@contextmanager
def _database(url: str) -> Iterator[Connection]:
    try:
        with connection_to(url) as connection:
            yield connection
    except NotParked as error:
        raise OperatorError(f"{error}; what is: orders parked") from None
    except LockNotAvailable:
        raise OperatorError("another session has held the checkpoint for too long: orders doctor names it") from None


def _view(projection: str, held: HeldBack) -> dict[str, object]:
    place = {name: value for name, value in held.parked._asdict().items() if name != "skipped"}
    return {
        "projection": projection,
        **place,
        "parked_at": rfc3339(held.parked_at),
        "age_seconds": round(held.age.total_seconds(), 3),
        "events_held_back": held.events,
    }


def _row(projection: str, held: HeldBack) -> list[str]:
    it = held.parked
    age = f"{held.age.total_seconds():,.0f} s"
    events = counted(held.events, "event")
    return [projection, it.stream, f"{it.position:,}", str(it.version), it.type, events, age, _reason(it.error)]


def _outcome(projection: str, drained: Drained) -> dict[str, object]:
    parked = drained.parked
    return {
        "projection": projection,
        "stream": drained.stream,
        "events_projected": drained.events,
        "parked_at_version": parked.version if parked else None,
        "error": parked.error if parked else None,
    }


def _tell(projection: str, drained: Drained) -> list[str]:
    parked = drained.parked
    now = "projected" if parked is None else f"parked at version {parked.version}: {_reason(parked.error)}"
    return [projection, drained.stream, f"{drained.events:,}", now]


def _reason(error: str) -> str:
    return output.short(error.partition("\n")[0], ERROR_SHOWN_MAX)
