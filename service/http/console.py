"""What the service hands to the console."""

import redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from console.app import Console
from console.parts import Parts
from projector import bell
from service.doctor import server
from service.health.readiness import Health
from service.projections import PROJECTIONS
from service.settings import Settings


def mount(app: Starlette, console: Console) -> None:
    """Serve the console's pages beside the API's routes."""

    async def with_slash(_: Request) -> Response:
        return RedirectResponse(f"{console.PATH}/")

    app.add_route(console.PATH, with_slash, include_in_schema=False)
    app.mount(console.PATH, console)


def console_of(settings: Settings, health: Health) -> Console:
    """The console for these settings. `health` is that of the process."""
    assert settings.database_url is not None
    assert settings.redis_url is not None
    redis_url = settings.redis_url

    def workers() -> list[str] | None:
        try:
            return bell.workers(redis_url)
        except (redis.RedisError, OSError):
            return None

    return Console(
        Parts(
            database_url=settings.database_url,
            projections=PROJECTIONS,
            condition=health.condition,
            checks=server.CHECKS,
            workers=workers,
            prefix=settings.root_path or "",
        )
    )
