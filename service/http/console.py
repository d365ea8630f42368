"""What the service hands to the console."""

import platform
from collections.abc import Iterable
from functools import partial

import redis
from psycopg import Connection
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from access import links
from console.app import Console
from console.parts import Parts
from contract.callers import Caller, Guard, Requirement
from projector import bell
from projector.jobs.table import Wanted
from query.database import Reads
from service import jobs
from service.doctor import imports, mirrors, neighbours, server, storage, upkeep
from service.doctor.finding import Check, Finding
from service.health.readiness import Health
from service.projections import PROJECTIONS
from service.settings import Settings
from service.shown_settings import shown
from service.version import VERSION


def _differences(connection: Connection) -> Iterable[Finding]:
    """The differences that the last verify of each projection found. `orders doctor` alone says that one is due."""
    wrong = [row for row in upkeep.verifications(connection) if row[3]]
    return upkeep.verified_check(wrong).run(connection)


# The quick ones: the page of the doctor runs them every ten seconds.
CHECKS = (
    *server.CHECKS,
    *storage.CHECKS,
    *neighbours.OF_SERVERS,
    *mirrors.CHECKS,
    *imports.CHECKS,
    Check("verified", _differences, "reads show what the log does not say"),
)


def mount(app: Starlette, console: Console) -> None:
    """Serve the console's pages beside the API's routes."""

    async def with_slash(_: Request) -> Response:
        return RedirectResponse(f"{console.PATH}/")

    app.add_route(console.PATH, with_slash, include_in_schema=False)
    app.mount(console.PATH, console)


def console_of(settings: Settings, health: Health, reads: Reads, guard: Guard) -> Console:
    """The console for these settings. `health` and `reads` are those of the process; `guard` lets operators in."""
    assert settings.database_url is not None
    assert settings.redis_url is not None
    redis_url, database_url = settings.redis_url, settings.database_url

    async def ask(caller: Caller, wanted: Wanted) -> str:
        return await jobs.ask(database_url, caller.actor, wanted)

    async def key_of_link(token: str) -> str | None:
        issued = await links.use(database_url, token)
        return issued.text if issued else None

    def workers() -> list[str] | None:
        try:
            return bell.workers(redis_url)
        except (redis.RedisError, OSError):
            return None

    return Console(
        Parts(
            database_url=settings.database_url,
            projections=PROJECTIONS,
            reads=reads,
            condition=health.condition,
            ask=ask,
            key_of_link=key_of_link,
            checks=CHECKS,
            workers=workers,
            settings=shown(settings),
            versions={"orders": VERSION, "Python": platform.python_version()},
            prefix=settings.root_path or "",
            admit=partial(guard.admit, required=Requirement("ops:read")),
            is_secure=settings.behind_proxy,
        )
    )
