"""`orders status`: how far behind the log the projections are, and what is in their way."""

from datetime import UTC
from typing import Annotated, NamedTuple

import psycopg
import redis
import typer
from rich.text import Text

from console.words import counted, span
from contract.times import rfc3339
from projector import bell
from projector.mirror.standings import standings
from projector.redis_faults import fault_of
from projector.status import Standing, Status
from projector.status import status as ask
from service.cli import connect, output
from service.doctor.storage import disk
from service.doctor.upkeep import differences
from service.errors import OperatorError
from service.health.holders import HELD_SECONDS_MIN, HOLDERS, Holder
from service.health.standings import shared, stopped, view, what_stopped
from service.projections import PROJECTIONS
from service.settings import Settings

NO_REDIS_URL = "REDIS_URL is not set"
_STYLES = {"live": "green", "catching_up": "yellow", "rebuilding": "yellow", "outdated": "red", "stopped": "red"}
COLUMNS = ("projection", "position", "events behind", "time behind", "state", "last looked")


def status(
    as_json: output.AsJson = False,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it again and again, until q; piped: a JSON object a line")
    ] = False,
    interval: Annotated[float, typer.Option(help="Seconds between two looks of --watch", min=0.1, max=3_600)] = 1.0,
    data_dir: connect.DataDir = None,
) -> None:
    """Print the log's head, each projection's position and lag, its worker, and its last error."""
    servers = urls(data_dir)
    if watch:
        from service.cli.watching import watch as show  # it imports this module

        show(lambda: look(*servers), interval, as_json)
        return
    found = look(*servers)
    if as_json:
        output.json(document(found))
    else:
        _print(found)


class Look(NamedTuple):
    """How things stand. `workers` are those that Redis reaches, or else `silence` says why that is not known.

    `findings`: the doctor's, about room on the disk and about differences that a verify found.
    """

    status: Status
    mirrors: list[Standing]
    holders: list[str]
    findings: list[str]
    workers: list[str] | None
    silence: str | None

    @property
    def listening(self) -> str:
        """The workers that listen to Redis, as text."""
        if self.workers is None:
            return NO_REDIS_URL if self.silence == NO_REDIS_URL else "not known"
        return ", ".join(self.workers) or "none"

    @property
    def standings(self) -> list[Standing]:
        return [*self.status.projections, *self.mirrors]


def look(url: str, redis_url: str | None) -> Look:
    """Ask the log's database, and Redis. Raises OperatorError and psycopg.Error."""
    with connect.asking(url, "orders status") as connection:
        # The sessions that hold locks for which projectors, readers or writers wait.
        holders = [str(Holder(*row)) for row in connection.execute(HOLDERS, {"seconds": HELD_SECONDS_MIN})]
        try:
            found = ask(connection, PROJECTIONS)
            mirrors = standings(connection, PROJECTIONS)
            findings = [it.what for check in (disk, differences) for it in check(connection)]
        except psycopg.errors.LockNotAvailable:
            reason = "; ".join(holders) or "PostgreSQL does not say which"
            raise OperatorError(f"the checkpoint cannot be read, another session has locked it: {reason}") from None
    return Look(found, mirrors, holders, findings, *_workers(redis_url))


def document(found: Look) -> dict[str, object]:
    log = {
        "log_uuid": found.status.log_uuid,
        "head": found.status.head,
        "recorded_at": rfc3339(found.status.recorded_at),
    }
    return {
        "log": log,
        "projections": [_view(it) for it in found.standings],
        "in_the_way": found.holders,
        "findings": found.findings,
        "workers": found.workers,
        "redis_error": found.silence,
    }


def urls(data_dir: connect.DataDir) -> tuple[str, str | None]:
    """DATABASE_URL, and REDIS_URL if there is one: without it `orders status` leaves out the workers."""
    given = Settings.load(data_dir=data_dir)
    if given.database_url is None:
        given = connect.settings(data_dir)
    return str(given.database_url), given.redis_url


def _workers(redis_url: str | None) -> tuple[list[str] | None, str | None]:
    """The workers that listen to Redis; or else why that is not known."""
    if redis_url is None:
        return None, NO_REDIS_URL
    try:
        return bell.workers(redis_url), None
    except (redis.RedisError, OSError) as error:
        return None, str(fault_of(error))


def _view(standing: Standing) -> dict[str, object]:
    """As GET /projections has it, with what only operators see."""
    seen = {"worker": standing.worker, "seen_at": rfc3339(standing.seen_at), "error": standing.error}
    return view(standing) | seen | {"reason": standing.trouble}


def name_of(standing: Standing) -> str:
    """The projection's name; of a mirror with the URL of its database."""
    return standing.name if standing.mirror is None else f"{standing.name} in {standing.mirror}"


def row(standing: Standing) -> list[str | Text]:
    """The cells of a standing under COLUMNS."""
    state = standing.state
    if standing.built is not None and standing.progress is not None:
        left = standing.built.seconds_left(standing.head)
        state += f", {standing.progress:.0%}" + (f", {span(left)} left" if left else "")
    seconds = (standing.now - standing.seen_at).total_seconds()
    looked = f"{seconds:.0f} s ago by {standing.worker}" if standing.worker else "never"
    behind = f"{standing.lag_events:,}", span(standing.lag)
    return [name_of(standing), f"{standing.position:,}", *behind, Text(state, _STYLES.get(standing.state, "")), looked]


def troubles(found: Look) -> list[str]:
    """Sentences that an operator must read beside the table."""
    projections = found.status.projections
    lines = [*found.findings]
    lines += [what_stopped(some) for some in stopped(found.mirrors)]
    lines += [
        f"{it.name}: {counted(it.parked, 'stream is', 'streams are')} parked: orders parked"
        for it in projections
        if it.parked
    ]
    lines += [f"{', '.join(names)}: {reason}" for names, reason in shared((it.name, it.trouble) for it in projections)]
    lines += [f"in the way: {holder}" for holder in found.holders]
    if found.silence not in {None, NO_REDIS_URL}:
        lines.append(f"{found.silence}; no event is lost, but reads may follow commands up to a second later")
    return [*lines, "what to do: orders doctor --quick"] if lines else []


def _print(found: Look) -> None:
    log = found.status
    recorded = f", appended {log.recorded_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC" if log.head else ""
    print(f"log {log.log_uuid}: head at position {log.head:,}{recorded}")
    output.table(*COLUMNS, rows=[row(it) for it in found.standings])
    for line in troubles(found):
        output.line(line)
    output.line(f"workers that listen to Redis: {found.listening}")
