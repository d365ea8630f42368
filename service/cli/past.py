"""`orders explain`, and `orders verify --stream`: questions about one order, user or product."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

import typer

from contract.names import path_of
from contract.problems import Problem
from projector.projection import Projection
from query.parameters import time_of
from query.single import VERSION_MAX
from service.cli import connect, output
from service.errors import MISUSE, NOT_TRUE, OperatorError
from timeline.comparing import Comparison, compare, has_rows_of
from timeline.connection import connected
from timeline.finding import streams_of
from timeline.folding import Unfoldable
from timeline.reading import NOW, AsOf, Past, Selecting, Timeline, Version, When, as_far_as_readable
from timeline.resources import Field, explanation, is_stream

T = TypeVar("T")


def explain(
    resource: Annotated[str, typer.Argument(help="orders/ID, users/ID, products/ID, a SKU, an e-mail, an external_id")],
    as_of: Annotated[str | None, typer.Option(help="As it was at this time, such as 2026-11-22T13:51:00Z")] = None,
    version: Annotated[
        int | None, typer.Option(help="As it was after so many of its events", min=1, max=VERSION_MAX)
    ] = None,
    diff: Annotated[
        bool, typer.Option("--diff", help="Only what is different now; alone: what the last event changed")
    ] = False,
    as_json: output.AsJson = False,
    data_dir: connect.DataDir = None,
) -> None:
    """Show which event set each field of an order, a user or a product, now or in the past."""
    when = _when(as_of, version)
    url = connect.database_url(data_dir)

    async def ask(select: Selecting) -> tuple[Past, Past, Unfoldable | None]:
        stream = await _stream(select, resource)
        timeline = Timeline(select)

        async def read(limit: int | None) -> Past:
            return await timeline.at(stream, NOW if limit is None else Version(limit))

        now, unread = await as_far_as_readable(read)
        if when is not None:
            then = await timeline.at(stream, when)
        else:
            then = await timeline.at(stream, Version(now.version - 1)) if diff else now
        return then, now, unread

    then, now, unread = _asked(url, "orders explain", ask)
    if not now.exists:
        raise OperatorError(_unread(unread) if unread else f"{resource} has no row: its first event was skipped")
    _check(then, when, resource)
    if diff:
        _print_difference(then, now, as_json)
    else:
        _print_explanation(then, as_json)
    if unread and (diff or when is None):
        raise OperatorError(f"{_unread(unread)}; the above is of version {now.version}")


def verify_stream(
    projections: list[Projection], named: bool, stream: str, as_json: bool, data_dir: connect.DataDir
) -> None:
    """Compare the rows of one stream with its fold, in those `projections` that have rows of it.

    `named`: the operator named the projections, so each must have rows of the stream.
    """
    if not is_stream(stream):
        raise OperatorError(f"{stream!r} is no stream: order-ID, user-ID and product-ID are", MISUSE)
    chosen = [it for it in projections if has_rows_of(it, stream)]
    if named and len(chosen) < len(projections):
        sums = ", ".join(it.name for it in projections if it not in chosen)
        raise OperatorError(f"{sums} has no rows of a single stream: leave --stream out to verify it", MISUSE)

    async def ask(select: Selecting) -> list[Comparison]:
        return [await compare(select, projection, stream, whole=True) for projection in chosen]

    with output.steps() as step:
        step(f"folding {stream}")
        comparisons = _asked(connect.database_url(data_dir), "orders verify", ask)
    if not any(it.exists for it in comparisons):
        raise OperatorError(f"there is no stream {stream}")
    if as_json:
        equal = all(it.equal for it in comparisons)
        output.json({"equal": equal, "stream": stream, "projections": [_view(it) for it in comparisons]})
    else:
        for comparison in comparisons:
            _print_comparison(comparison)
    if not all(it.equal for it in comparisons):
        raise typer.Exit(NOT_TRUE)


def _when(as_of: str | None, version: int | None) -> When | None:
    if as_of is not None and version is not None:
        raise OperatorError("give --as-of or --version, not both", MISUSE)
    if version is not None:
        return Version(version)
    if as_of is None:
        return None
    try:
        return AsOf(time_of(as_of))
    except ValueError as error:
        raise OperatorError(f"--as-of {error}", MISUSE) from None


def _asked(url: str, name: str, ask: Callable[[Selecting], Awaitable[T]]) -> T:
    """Run `ask` on a connection of its own and return its answer. Raises OperatorError, and psycopg.Error."""

    async def run() -> T:
        async with connected(url, name) as select:
            return await ask(select)

    try:
        return asyncio.run(run())
    except Unfoldable as error:
        raise OperatorError(_unread(error)) from error
    except Problem as problem:
        raise OperatorError(problem.detail) from problem
    except TimeoutError:
        raise OperatorError("PostgreSQL does not answer; check DATABASE_URL, and that the server runs") from None


def _unread(error: Unfoldable) -> str:
    return f"{error.sentence}; orders events --after {error.event.position - 1} --limit 1 prints it; see orders parked"


async def _stream(select: Selecting, resource: str) -> str:
    streams = await streams_of(select, resource)
    if not streams:
        raise OperatorError(f"there is no order, user or product {resource!r}")
    if len(streams) > 1:
        paths = ", ".join(path_of(stream).strip("/") for stream in streams)
        raise OperatorError(f"{resource!r} names more than one: {paths}")
    return streams[0]


def _check(then: Past, when: When | None, resource: str) -> None:
    if then.future:
        raise OperatorError("--as-of lies in the future", MISUSE)
    if then.version > then.last:
        raise OperatorError(f"{resource} has no version {then.version}: its last one is {then.last}")
    if when is not None and not then.exists:
        raise OperatorError(f"{resource} did not exist yet at that time")


def _print_explanation(past: Past, as_json: bool) -> None:
    fields = past.fields()
    if as_json:
        data = explanation(fields)
        output.json({"stream": past.stream, "version": past.version, "last": past.last, "data": data})
        return
    print(f"{past.stream}: version {past.version} of {past.last}")
    rows = [
        [it.name, output.value(it.value), _set_by(it), it.event.occurred_at, _actor(it), it.event.request_id or "-"]
        for it in fields
    ]
    output.table("field", "value", "set by", "occurred at", "actor", "request", rows=rows)


def _print_difference(then: Past, now: Past, as_json: bool) -> None:
    before = {it.name: it.value for it in then.fields()} if then.exists else {}
    changed = [it for it in now.fields() if it.name not in before or before[it.name] != it.value]
    if as_json:
        changes = [
            {"field": it.name, "then": before.get(it.name), "now": it.value, "version": it.event.version}
            | {"type": it.event.type, "occurred_at": it.event.occurred_at, "actor": it.event.actor}
            for it in changed
        ]
        output.json({"stream": now.stream, "version": then.version, "last": now.version, "changes": changes})
        return
    print(f"{now.stream}: version {then.version}, and now, version {now.version}")
    if not changed:
        print("nothing has changed since")
        return
    earlier = {name: output.value(value) for name, value in before.items()}
    rows = [[it.name, earlier.get(it.name, "-"), output.value(it.value), _set_by(it), _actor(it)] for it in changed]
    output.table("field", "then", "now", "set by", "actor", rows=rows)


def _set_by(field: Field) -> str:
    return f"v{field.event.version} {field.event.type}"


def _actor(field: Field) -> str:
    actor = field.event.actor
    if actor is None:
        return "-"
    return f"{actor['kind']} {actor['id']}" if actor["id"] else str(actor["kind"])


def _print_comparison(comparison: Comparison) -> None:
    number = len(comparison.differences)
    between = f"{comparison.stream} and its rows, at version {comparison.version} of {comparison.last}"
    rest = ": --json shows all"
    output.comparison(comparison.projection, between, comparison.rows, number, comparison.differences, rest)
    if comparison.parked:
        print(f"{comparison.projection}: the stream is parked at version {comparison.version + 1}: orders parked")
    elif comparison.behind:
        print(f"{comparison.projection}: {comparison.behind:,} of its events are not projected yet: orders status")
    if number:
        print(f"rebuild them with: orders replay {comparison.projection}")


def _view(comparison: Comparison) -> dict[str, object]:
    return {
        "name": comparison.projection,
        "equal": comparison.equal,
        "position": comparison.position,
        "version": comparison.version,
        "last": comparison.last,
        "parked": comparison.parked,
        "rows": comparison.rows,
        "found": len(comparison.differences),
        "differences": comparison.differences,
    }
