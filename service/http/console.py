"""The service's parts for the console."""

from collections.abc import Iterable
from functools import partial

import redis
from psycopg import Connection
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from access import links
from console import parts
from console.app import Console
from contract.callers import Guard, Requirement
from projector import bell
from query.database import Reads
from service import jobs
from service.doctor import imports, mirrors, neighbours, server, storage, upkeep
from service.doctor.finding import Check
from service.embedded.postgres import PostgresServer
from service.health.readiness import Health
from service.projections import PROJECTIONS
from service.settings import Settings
from service.shown_settings import shown
from service.versions import versions

# The quick ones: the page of the doctor runs them every ten seconds. `orders doctor` alone says that a verify is due.
CHECKS = (
    *server.CHECKS,
    *storage.CHECKS,
    *neighbours.OF_SERVERS,
    *mirrors.CHECKS,
    *imports.CHECKS,
    Check("verified", upkeep.differences, "reads show what the log does not say"),
)

# Findings of these checks put orders at risk.
_BAD = {"durability", "in the way", "disk"}
# Where an operator reads more of their findings, and acts.
_PAGES = {"verified": "/projections", "mirrors": "/projections", "imports": "/imports"}


def examine(connection: Connection) -> Iterable[parts.Finding]:
    for check in CHECKS:
        level = "bad" if check.name in _BAD else "warn"
        why = f"{check.why[:1].upper()}{check.why[1:]}."
        for found in check.findings(connection):
            yield parts.Finding(level, found.what, why, found.remedy, _PAGES.get(check.name), found.since, found.public)


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
    own = PostgresServer(settings.data_dir)

    def workers() -> list[str] | None:
        try:
            return bell.workers(redis_url)
        except (redis.RedisError, OSError):
            return None

    return Console(
        parts.Parts(
            database_url=database_url,
            projections=PROJECTIONS,
            reads=reads,
            condition=health.condition,
            ask=partial(jobs.ask, database_url),
            use_link=partial(links.use, database_url),
            checks=[it.name for it in CHECKS],
            examine=examine,
            workers=workers,
            settings=shown(settings),
            versions=partial(versions, redis_url),
            prefix=settings.root_path or "",
            admit=partial(guard.admit, required=Requirement("ops:read")),
            is_secure=settings.behind_proxy,
            database_log=own.log_path if own.url == database_url else None,
        )
    )
