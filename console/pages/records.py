"""The pages of records beside the log: the audit, the API keys, the imports, and the jobs that operators asked for."""

from datetime import UTC, datetime

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from access.store import latest
from console.desk import Desk
from console.imports import REPAIR, newest
from contract.names import id_of
from database.sessions import only_row
from eventlog.pages import ACTS_PAGE
from projector.jobs import table

ACTS_SHOWN = 50
KEYS_SHOWN = 200
IMPORTS_SHOWN = 50
JOBS_SHOWN = 50


def audit(desk: Desk, request: Request) -> Response:
    try:
        before = id_of(request.query_params.get("before", ""))
    except ValueError:
        before = "~"
    with desk.database.connection() as connection:
        wanted = {"before": before, "limit": ACTS_SHOWN}
        _, acts, oldest, more = only_row(connection.execute(ACTS_PAGE, wanted).fetchone())
    shown = [{**it, "at": datetime.fromisoformat(it["at"])} for it in acts]
    return desk.page(request, "audit.html", acts=shown, older=oldest if more else None, is_first=before == "~")


def keys(desk: Desk, request: Request) -> Response:
    """The newest API keys: who made each, when it was used last, and whether it still is valid."""
    with desk.database.connection() as connection:
        found = latest(connection, KEYS_SHOWN + 1)[::-1]
    return desk.page(request, "keys.html", keys=found[:KEYS_SHOWN], more=len(found) > KEYS_SHOWN, now=datetime.now(UTC))


def imports(desk: Desk, request: Request) -> Response:
    """The newest runs of imports, each with whether a later run of the same path came to its end."""
    with desk.database.connection() as connection:
        found = newest(connection, IMPORTS_SHOWN)
    shown, ended = [], set()
    for it in found:
        shown.append((it, it.path in ended))
        if it.finished_at and not it.error:
            ended.add(it.path)
    return desk.page(request, "imports.html", imports=shown, repair=REPAIR)


def jobs(desk: Desk, request: Request) -> Response:
    with desk.database.connection() as connection:
        found = table.latest(connection, JOBS_SHOWN)
    return desk.page(request, "jobs.html", jobs=found)


def job(desk: Desk, request: Request) -> Response:
    try:
        with desk.database.connection() as connection:
            found = table.one(connection, id_of(request.path_params["id"]))
    except ValueError:
        found = None
    if found is None:
        raise HTTPException(404, "There is no such job.")
    return desk.page(request, "job.html", job=found)
