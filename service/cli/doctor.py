"""`orders doctor`: what is wrong with the log, the server or its neighbours, each in one line with its remedy."""

from typing import Annotated

import typer
from psycopg.errors import InsufficientPrivilege

from console.words import ago, counted, moment
from contract.times import rfc3339
from service.cli import connect, output
from service.cli.status import urls
from service.doctor import Examination, examine
from service.doctor.finding import Finding
from service.errors import NOT_TRUE, OperatorError


def doctor(
    as_json: output.AsJson = False,
    quick: Annotated[bool, typer.Option("--quick", "-q", help="Leave out the checks that read all of the log")] = False,
    data_dir: connect.DataDir = None,
) -> None:
    """Examine the projections, the server and its neighbours, and all of the log, while they serve.

    Each finding says since when, why it matters, and what to do. --quick takes a second, whatever the size of the log.

    Exit code 0: all well; 1: see the findings, or a check ran out of time or met a lock.
    """
    url, redis_url = urls(data_dir)
    try:
        with connect.asking(url, "orders doctor") as connection, output.steps() as step:
            found = examine(connection, step, redis_url=redis_url, quick=quick)
    except InsufficientPrivilege as error:
        raise OperatorError(f"{error.diag.message_primary}: it takes the role that owns the tables") from error
    if as_json:
        output.json(_document(found))
    else:
        _print(found)
    if not found.healthy:
        raise typer.Exit(NOT_TRUE)


def _document(found: Examination) -> dict[str, object]:
    return {
        "healthy": found.healthy,
        "events": found.events,
        "seconds": round(found.seconds, 3),
        "checks": [
            {
                "name": it.name,
                "seconds": round(found.took[it.name], 3),
                "findings": [_view(finding, it.why) for finding in found.findings[it.name]],
            }
            for it in found.checks
            if it.name in found.findings
        ],
        "not_checked": found.not_checked,
    }


def _view(finding: Finding, why: str) -> dict[str, object]:
    since = rfc3339(finding.since) if finding.since else None
    return {"what": finding.what, "since": since, "why": why, "remedy": finding.remedy, "accepted": finding.accepted}


def _print(found: Examination) -> None:
    for check in found.checks:
        for finding in found.findings.get(check.name, ()):
            output.line(f"{check.name}: {finding.what}")
            if finding.since:
                print(f"  since: {moment(finding.since)} UTC, {ago(finding.since)} ago")
            print(f"  why:   {check.why}")
            output.line(f"  do:    {finding.remedy}")
    for name, reason in found.not_checked.items():
        output.line(f"{name}: not checked, because {reason}")
    said = counted(found.number, "finding") if found.number else "all well" if found.healthy else "no findings"
    if accepted := sum(map(len, found.findings.values())) - found.number:
        said += f", {accepted:,} accepted"
    if found.not_checked:
        said += f", {counted(len(found.not_checked), 'check')} not done"
    print(f"{said}: {len(found.findings)} checks of {found.events:,} events in {found.seconds:.1f} s")
