"""The API reference at /docs: Swagger UI from our own files, so that it works without internet."""

import hashlib
from collections.abc import Awaitable, Callable
from importlib import resources
from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.responses import Response

from contract.caching import SharedFile
from contract.callers import PUBLIC
from contract.problems import Problem
from contract.requests import StrictRoute

FILES = {
    "swagger-ui/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "swagger-ui/swagger-ui.css": "text/css; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
}

# The page can send commands, so no script of another origin may run on it. Swagger UI has its icons as data: images.
_SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
# The same for everybody; a cache asks again before each use, because the next release may change it.
_SHARED = {"Cache-Control": "no-cache"}


def router(document: Callable[[], dict[str, Any]]) -> APIRouter:
    """The routes. `document` makes the OpenAPI document; it is called when the first request asks for it."""
    routes = APIRouter(route_class=StrictRoute, include_in_schema=False)
    folder = resources.files("service.http") / "static"
    files = {name.rpartition("/")[2]: ((folder / name).read_bytes(), kind) for name, kind in FILES.items()}
    # A digest in the path: a file that changes gets another path, so caches may keep each for ever.
    digest = hashlib.sha256(b"".join(content for content, _ in files.values())).hexdigest()[:16]
    page = (folder / "docs.html").read_text().replace("FILES", f"static/{digest}")

    async def openapi() -> Response:
        body = msgspec.json.encode(document())
        return Response(body, headers=_SHARED | _SECURITY, media_type="application/json")

    async def docs() -> Response:
        return Response(page, headers=_SHARED | _SECURITY, media_type="text/html")

    async def static(version: str, name: str) -> Response:
        if version != digest or name not in files:
            raise Problem("not-found", f"There is no file {name[:100]!r} of this version.")
        content, kind = files[name]
        return SharedFile(content, kind, _SECURITY)

    endpoints: dict[str, Callable[..., Awaitable[Response]]] = {
        "/openapi.json": openapi,
        "/docs": docs,
        "/static/{version}/{name}": static,
    }
    open_to_all = {"security": PUBLIC}
    for path, endpoint in endpoints.items():
        routes.add_api_route(path, endpoint, methods=["GET"], openapi_extra=open_to_all)
        routes.add_api_route(path, endpoint, methods=["HEAD"], openapi_extra=open_to_all)
    return routes
