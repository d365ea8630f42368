"""`orders audit` and `orders imports`: what operators did to the service, and the runs of `orders import`."""

from typing import Annotated

import typer

from console.imports import Import, newest
from console.words import moment
from database.sessions import only_row
from eventlog.pages import ACTS_PAGE
from service.cli import connect, output


def audit(
    limit: Annotated[int, typer.Option(help="How many of the last acts", min=1, max=10_000)] = 50,
    as_json: output.AsJson = False,
    data_dir: connect.DataDir = None,
) -> None:
    """List what operators did, newest first: keys, replays, retries, skips."""
    with connect.asking(connect.database_url(data_dir), "orders audit") as connection:
        _, acts, *_ = only_row(connection.execute(ACTS_PAGE, {"before": "~", "limit": limit}).fetchone())
    if as_json:
        output.json({"data": acts})
        return
    table = [
        [it["at"], f"{it['actor']['kind']} {it['actor']['id']}", it["act"], it["target"], it["reason"] or ""]
        for it in acts
    ]
    output.table("at", "actor", "act", "target", "reason", rows=table)


def imports(
    limit: Annotated[int, typer.Option(help="How many of the last runs", min=1, max=10_000)] = 20,
    as_json: output.AsJson = False,
    data_dir: connect.DataDir = None,
) -> None:
    """List the runs of `orders import`, newest first, and the first rows that the newest one refused."""
    with connect.asking(connect.database_url(data_dir), "orders imports") as connection:
        found = newest(connection, limit)
    if as_json:
        output.json({"data": [it._asdict() | {"state": _state(it)} for it in found]})
    elif found:
        rows = [
            [moment(it.started_at), it.path, _state(it), f"{it.accepted:,}", f"{it.already_there:,}", _refused(it)]
            for it in found
        ]
        output.table("began (UTC)", "path", "state", "accepted", "already there", "refused", rows=rows)
        if rejects := found[0].first_rejects:
            print()
            rows = [[it["file"], str(it["line"]), it["code"], it["detail"]] for it in rejects]
            output.table("file", "line", "code", "why", rows=rows)
    else:
        print("nothing was imported yet: orders import FOLDER")


def _state(run: Import) -> str:
    if run.error:
        return f"stopped: {run.error}"
    if run.finished_at:
        return "ended"
    return "stands still" if run.stalled_for else f"running, {run.share:.0%}"


def _refused(run: Import) -> str:
    return ", ".join(f"{code} {number:,}" for code, number in run.refused.items()) or "0"
