"""What every page works with."""

from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import HTMLResponse

from console.database import Database
from console.parts import Parts
from console.pulse import Heart
from console.rendering import Renderer


class Desk(NamedTuple):
    """The service's parts, the connections, the pulse, and the templates."""

    parts: Parts
    database: Database
    heart: Heart
    renderer: Renderer

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A page with the state of the service at its top. `values` are the template's."""
        if "pulse" not in values:
            values["pulse"] = self.heart.pulse()
        return self.renderer.page(request, template, status, **values)
