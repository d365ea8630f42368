"""What was recorded beside the log: who acted, and what was imported."""

from datetime import datetime
from typing import Any, NamedTuple

from psycopg.rows import class_row
from starlette.requests import Request
from starlette.responses import Response

from console.desk import Desk
from eventlog.pages import ACTS_PAGE
from query.parameters import id_of

ACTS_SHOWN = 50
IMPORTS_SHOWN = 50

_IMPORTS = b"""
SELECT id::text, path, started_at, finished_at, accepted, already_there, events, refused, first_rejects, error,
    clock_timestamp() AS now
FROM operations.imports ORDER BY id DESC LIMIT %s
"""


class Import(NamedTuple):
    """A run of `orders import`. `refused` counts rows by code; `error` says why it stopped before its end."""

    id: str
    path: str
    started_at: datetime
    finished_at: datetime | None
    accepted: int
    already_there: int
    events: int
    refused: dict[str, int]
    first_rejects: list[dict[str, Any]]
    error: str | None
    now: datetime

    @property
    def seconds(self) -> float:
        """How long it has run, or ran."""
        return ((self.finished_at or self.now) - self.started_at).total_seconds()

    @property
    def rows(self) -> int:
        """How many rows were read."""
        return self.accepted + self.already_there + sum(self.refused.values())


def audit(desk: Desk, request: Request) -> Response:
    """What operators did, newest first."""
    try:
        before = id_of(request.query_params.get("before", ""))
    except ValueError:
        before = "~"
    with desk.database.connection() as connection:
        ((_, acts, oldest, more),) = connection.execute(ACTS_PAGE, {"before": before, "limit": ACTS_SHOWN}).fetchall()
    shown = [{**it, "at": datetime.fromisoformat(it["at"])} for it in acts]
    return desk.page(request, "audit.html", acts=shown, older=oldest if more else None, is_first=before == "~")


def imports(desk: Desk, request: Request) -> Response:
    """The newest imports, with what was refused."""
    with desk.database.connection() as connection:
        cursor = connection.cursor(row_factory=class_row(Import))
        found = cursor.execute(_IMPORTS, (IMPORTS_SHOWN,)).fetchall()
    return desk.page(request, "imports.html", imports=found)
