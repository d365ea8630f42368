"""`orders doctor`: what is wrong with the log, the server or its neighbours, each in one line with its remedy."""

import gc
from typing import TYPE_CHECKING

import typer

from service.cli import connect
from service.cli.failures import NOT_TRUE
from service.cli.run import DataDir
from service.cli.status import AsJson
from service.errors import OperatorError

if TYPE_CHECKING:
    from service.doctor import Examination


def doctor(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Examine log, claims, snapshots and server, while they serve.

    Exit code 0: all well; 1: see the findings, or a check ran out of time.
    """
    url = connect.database_url(data_dir)
    import psycopg

    from service.cli import output
    from service.doctor import examine

    # Events are many objects and no cycles.
    gc.disable()
    try:
        with connect.asking(url, "orders doctor") as connection, output.steps() as step:
            found = examine(connection, step)
    except psycopg.errors.InsufficientPrivilege as error:
        raise OperatorError(f"{error.diag.message_primary}: it takes the role that owns the tables") from error
    if as_json:
        output.json(_document(found))
    else:
        _print(found)
    if not found.healthy:
        raise typer.Exit(NOT_TRUE)


def _document(found: "Examination") -> dict[str, object]:
    return {
        "healthy": found.healthy,
        "events": found.events,
        "seconds": round(found.seconds, 3),
        "seconds_per_million_events": found.seconds_per_million_events and round(found.seconds_per_million_events, 1),
        "checks": [
            {"name": name, "seconds": round(found.took[name], 3), "findings": [it._asdict() for it in findings]}
            for name, findings in found.findings.items()
        ],
        "not_checked": found.not_checked,
    }


def _print(found: "Examination") -> None:
    for name, findings in found.findings.items():
        for finding in findings:
            print(f"{name}: {finding.what}; {finding.remedy}")
    for name, reason in found.not_checked.items():
        print(f"{name}: not checked, because {reason}; run it again when the server has less to do")
    number = sum(map(len, found.findings.values()))
    said = f"{number} findings" if number else "all well" if found.healthy else "no findings"
    if found.not_checked:
        said += f", {len(found.not_checked)} checks not done"
    rate = f", {per_million:.0f} s per million events" if (per_million := found.seconds_per_million_events) else ""
    print(f"{said}: {len(found.findings)} checks of {found.events:,} events in {found.seconds:.1f} s{rate}")
