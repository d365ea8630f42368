"""`orders audit`: who did what to the service itself, when and why."""

from typing import Annotated

import typer

from database.sessions import only_row
from eventlog.pages import ACTS_PAGE
from service.cli import connect, output
from service.cli.connect import DataDir
from service.cli.output import AsJson


def audit(
    limit: Annotated[int, typer.Option(help="How many of the last acts", min=1, max=10_000)] = 50,
    as_json: AsJson = False,
    data_dir: DataDir = None,
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
