"""`orders mirror`: keep the read tables in another database too: SQLite, MySQL, MariaDB, or another PostgreSQL."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Annotated

import typer
from sqlalchemy.exc import DBAPIError

from projector.checkpoint import OtherVersion
from projector.dependents import InTheWay
from projector.loop import Progress
from projector.mirror import standings
from projector.mirror.following import Mirror, TargetInUse
from projector.mirror.target import Target, Unsuitable
from projector.mirror.targets import target_of
from projector.mirror.verifying import verify as compare
from projector.mirror.writer import OtherLog
from projector.projection import Projection
from service import logs
from service.cli import connect, output
from service.cli.read_tables import print_verdict
from service.errors import INTERRUPTED, MISUSE, NOT_TRUE, OperatorError
from service.garbage import collect_seldom
from service.projections import named
from service.settings import Settings

Url = Annotated[str, typer.Argument(metavar="URL", help="sqlite:///./app.db, mysql://... or postgresql://...")]
Chosen = Annotated[
    list[str] | None, typer.Option("--projection", "-p", help="Mirror this one; repeat it for more. All when left out")
]


def mirror(
    url: Url,
    projection: Chosen = None,
    once: Annotated[bool, typer.Option("--once", help="Catch up with the log, and end")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Compare every row with the log: exit code 0 or 1")] = False,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build the tables anew while readers use them")] = False,
    forget: Annotated[bool, typer.Option("--forget", help="Take it off the list; its tables stay")] = False,
    data_dir: connect.DataDir = None,
) -> None:
    """Keep the read tables in another database: make them, catch up with the log, and follow it until Ctrl-C."""
    if once + verify + rebuild + forget > 1:
        raise OperatorError("--once, --verify, --rebuild and --forget exclude each other", MISUSE)
    chosen = named(projection)
    log_url = connect.database_url(data_dir, keeps_environment=url.startswith("postgres"))
    if forget:
        _forget(log_url, url, chosen)
        return
    try:
        target = target_of(url)
    except Unsuitable as error:
        raise OperatorError(str(error), MISUSE) from error
    collect_seldom()
    with _explained(target):
        if verify:
            _verify(log_url, target, chosen)
        elif rebuild:
            _rebuild(log_url, target, chosen)
        elif once:
            _catch_up(log_url, target, chosen)
        else:
            _follow(log_url, target, chosen)


def _catch_up(log_url: str, target: Target, chosen: list[Projection]) -> None:
    reached: dict[str, int] = {}
    with output.events_bar("mirroring") as bar:

        def report(projection: Projection, progress: Progress) -> None:
            reached[projection.name] = progress.position
            bar(progress)

        Mirror(log_url, target, chosen).catch_up(report)
    for name, position in reached.items():
        print(f"{name} is at position {position:,} in {target.shown}")


def _rebuild(log_url: str, target: Target, chosen: list[Projection]) -> None:
    for projection in chosen:
        with output.events_bar(f"rebuilding {projection.name}") as bar:
            mirroring = Mirror(log_url, target, [projection])
            reached = mirroring.rebuild(bar)
        print(f"rebuilt {projection.name} from {reached.position:,} events in {target.shown}", flush=True)


def _verify(log_url: str, target: Target, chosen: list[Projection]) -> None:
    equal = True
    for projection in chosen:
        with output.events_bar(f"folding the log for {projection.name}") as bar:
            verdict = compare(log_url, target, projection, bar)
        print_verdict(verdict, "orders mirror URL --rebuild")
        equal = equal and not verdict.found
    if not equal:
        raise typer.Exit(NOT_TRUE)


def _follow(log_url: str, target: Target, chosen: list[Projection]) -> None:
    settings = Settings.load()
    logs.configure(settings.log_format, settings.log_level)
    mirroring = Mirror(log_url, target, chosen)

    def stop(number: int, frame: FrameType | None) -> None:
        mirroring.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    print(f"mirroring {', '.join(it.name for it in chosen)} to {target.shown}", flush=True)
    mirroring.follow()


def _forget(log_url: str, url: str, chosen: list[Projection]) -> None:
    """Delete a mirror from the list. `url` may be the name that `orders status` prints."""
    names = {url}
    with suppress(Unsuitable):
        target = target_of(url)
        names.add(target.listed)
        target.close()
    with connect.asking(log_url, "orders mirror") as connection:
        listed = standings.standings(connection, chosen)
        if working := [it for it in listed if it.mirror in names and it.state not in {"ended", "stopped"}]:
            raise OperatorError(f"{working[0].mirror} is at work ({working[0].worker}): stop it first")
        forgotten = standings.forget(connection, names, [it.name for it in chosen])
    if not forgotten:
        others = ", ".join(sorted({str(it.mirror) for it in listed})) or "none"
        raise OperatorError(f"no such mirror is listed; listed: {others}")
    for target_name, projection in forgotten:
        output.line(f"forgot {projection} in {target_name}; its tables stay")


@contextmanager
def _explained(target: Target) -> Iterator[None]:
    """Turn what an operator can cause into one line."""
    try:
        yield
    except Unsuitable as error:
        raise OperatorError(str(error), MISUSE) from error
    except (InTheWay, TargetInUse, OtherLog) as error:
        raise OperatorError(str(error)) from error
    except OtherVersion as error:
        raise OperatorError(f"{error}: run `orders mirror URL --rebuild`, or that release") from error
    except DBAPIError as error:
        raise OperatorError(f"{target.shown}: {target.said(error)}") from error
    except KeyboardInterrupt:
        raise OperatorError("interrupted: what was committed stays", INTERRUPTED) from None
