"""The values of Cache-Control. A cache must never serve a resource as it was before the caller's own write."""

from starlette.responses import Response

# Answers that depend on the moment: lists, commands, problems, health. No cache keeps them.
NO_STORE = {"Cache-Control": "private, no-store"}

# Answers with an ETag. The caller's own cache may keep them, and asks again (If-None-Match) before each use. It
# repeats the caller's Sync-Token then, so no Vary is needed: the service decides about each use.
REVALIDATED = {"Cache-Control": "private, no-cache"}

# A resource at a version: it never changes, so the caller's own cache may keep it and need not ask again.
IMMUTABLE_PRIVATE = {"Cache-Control": "private, max-age=31536000, immutable"}

# Files whose path holds a digest of their content.
IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable"}


class SharedFile(Response):
    """A file that caches keep for everybody: the route adds nothing to it that belongs to one request or caller.

    Its path must hold a digest of its content. `headers` are added to its Cache-Control.
    """

    def __init__(self, content: bytes, media_type: str, headers: dict[str, str]) -> None:
        super().__init__(content, headers=IMMUTABLE | headers, media_type=media_type)
