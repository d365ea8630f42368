"""`orders jobs`: the jobs that operators gave to the workers, here or in the console, and their results."""

import asyncio
import time
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import typer
from psycopg import Connection

from contract.times import rfc3339
from projector.jobs import table
from projector.status import status
from service.cli import connect, output
from service.cli.acting import Reason, actor
from service.errors import MISUSE, NOT_TRUE, OperatorError
from service.jobs import ask
from service.projections import PROJECTIONS, named

LOOK_SECONDS = 0.5

app = typer.Typer(name="jobs", add_completion=False)


@app.callback(invoke_without_command=True, epilog="Example: orders jobs --json")
def jobs(
    context: typer.Context,
    limit: Annotated[int, typer.Option(help="How many of the last jobs", min=1, max=10_000)] = 20,
    as_json: output.AsJson = False,
    data_dir: connect.DataDir = None,
) -> None:
    """List the jobs that the workers were asked for, newest first; start one, or wait for its end."""
    if context.invoked_subcommand is not None:
        return
    with connect.asking(connect.database_url(data_dir), "orders jobs list") as connection:
        found = table.latest(connection, limit)
    if as_json:
        output.json({"data": [_view(it) for it in found]})
    elif found:
        rows = [[it.id, it.wanted.title, _state(it), it.asked_by, it.reason or "", _said(it)] for it in found]
        output.table("job", "what", "state", "asked by", "reason", "result", rows=rows)
    else:
        print("no job was asked for: orders jobs start replay shop")


@app.command(epilog='Example: orders jobs start replay shop --reason "wrong sums" --wait')
def start(
    kind: Annotated[Literal["replay", "verify", "retry"], typer.Argument(help="To skip: orders parked skip")],
    projection: Annotated[str, typer.Argument(help="The projection")],
    stream: Annotated[str | None, typer.Option(help="Of a retry: this parked stream; all when left out")] = None,
    reason: Reason = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end; exit code 1 if not all is well then")] = False,
    data_dir: connect.DataDir = None,
) -> None:
    """Ask the workers for a job, as the console does. Prints its id."""
    (of,) = named([projection])
    if stream is not None and kind != "retry":
        raise OperatorError("--stream is for a retry", MISUSE)
    id_ = asyncio.run(ask(connect.database_url(data_dir), actor(), table.Wanted(kind, of.name, stream, reason=reason)))
    print(id_, flush=True)
    if wait:
        wait_for(UUID(id_), data_dir)
        return
    with connect.asking(connect.database_url(data_dir), "orders jobs start") as connection:
        _warn_without_worker(connection, of.name)


@app.command("wait", epilog="Example: orders jobs wait 0190...")
def wait_for(
    id_: Annotated[UUID, typer.Argument(metavar="JOB", help="The job's id, as `orders jobs` shows it")],
    data_dir: connect.DataDir = None,
) -> None:
    """Wait for the end of a job, and print what came of it; exit code 1 if not all is well then."""
    with connect.asking(connect.database_url(data_dir), "orders jobs wait") as connection:
        job = table.one(connection, str(id_))
        if job and job.is_open:
            _warn_without_worker(connection, job.projection)
        while job and job.is_open:
            time.sleep(LOOK_SECONDS)  # between two looks at the table
            job = table.one(connection, str(id_))
    if job is None:
        raise OperatorError(f"there is no job {id_}: orders jobs")
    output.line(f"{_state(job)}: {_said(job)}")
    if not (job.result and job.result.get("is_well")):
        raise typer.Exit(NOT_TRUE)


def _warn_without_worker(connection: Connection, projection: str) -> None:
    for standing in status(connection, [it for it in PROJECTIONS if it.name == projection]).projections:
        if standing.silence:
            output.line(f"{standing.silence}; the job waits until one does: orders work", to_stderr=True)


def _state(job: table.Job) -> str:
    if job.progress is None:
        return job.state
    left = "" if job.seconds_left is None else f", {job.seconds_left:.0f} s left"
    return f"{job.state}, {job.progress:.0%}{left}"


def _said(job: table.Job) -> str:
    return str(job.result["said"]) if job.result else ""


def _view(job: table.Job) -> dict[str, Any]:
    return {
        name: rfc3339(value) if isinstance(value, datetime) else value
        for name, value in job._asdict().items()
        if name != "now"
    }
