"""The console's own files: style sheet, script and htmx, under a path that changes with their content."""

import hashlib
from importlib import resources

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from contract.caching import IMMUTABLE

FILES = {
    "console.css": "text/css; charset=utf-8",
    "console.js": "text/javascript; charset=utf-8",
    "htmx/htmx.min.js": "text/javascript; charset=utf-8",
    "htmx/hx-csp.min.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

_folder = resources.files("console") / "static"
_contents = {name.rpartition("/")[2]: ((_folder / name).read_bytes(), kind) for name, kind in FILES.items()}
DIGEST = hashlib.sha256(b"".join(content for content, _ in _contents.values())).hexdigest()[:16]


async def static(request: Request) -> Response:
    version, name = request.path_params["version"], request.path_params["name"]
    if version != DIGEST or name not in _contents:
        raise HTTPException(404)
    content, kind = _contents[name]
    return Response(content, headers={**IMMUTABLE, "X-Content-Type-Options": "nosniff"}, media_type=kind)
