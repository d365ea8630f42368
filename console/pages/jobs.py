"""Jobs: those that operators asked for, and what came of each."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from console.desk import Desk
from contract.names import id_of
from projector.jobs import table

JOBS_SHOWN = 50


def listing(desk: Desk, request: Request) -> Response:
    with desk.database.connection() as connection:
        jobs = table.latest(connection, JOBS_SHOWN)
    return desk.page(request, "jobs.html", jobs=jobs)


def show(desk: Desk, request: Request) -> Response:
    job = None
    try:
        with desk.database.connection() as connection:
            job = table.one(connection, id_of(request.path_params["id"]))
    except ValueError:
        pass
    if job is None:
        raise HTTPException(404, "There is no such job.")
    return desk.page(request, "job.html", job=job)
