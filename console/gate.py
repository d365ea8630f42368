"""Signing in: a caller with the scope `ops:read` may look.

A browser signs in with an API key and keeps it in a cookie. No script can read the cookie, and no page of another site
can have it sent. So a key that is revoked ends the visit too, in every process of the API.
"""

from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from console.parts import Parts
from console.rendering import Renderer
from contract.problems import Problem

KEY_COOKIE = "orders_key"
_AUTHORIZATION = b"authorization"


class Gate:
    """Lets requests in that come with an API key: in the cookie, or as `Authorization: Bearer`."""

    def __init__(self, parts: Parts, renderer: Renderer) -> None:
        self._admit = parts.admit
        self._is_secure = parts.is_secure
        self._renderer = renderer

    async def refusal(self, request: Request) -> Response | None:
        """The answer to a request that may not come in; None lets it in."""
        key = request.cookies.get(KEY_COOKIE)
        try:
            await self._admit(_with_key(request.scope, key))
        except Problem as problem:
            return self._page(request, problem.status_code, "" if key is None else problem.detail)
        return None

    async def sign_in(self, request: Request, key: str) -> Response:
        """Keep the key in the cookie, if it lets its owner in."""
        try:
            await self._admit(_with_key(request.scope, key))
        except Problem as problem:
            return self._page(request, problem.status_code, problem.detail)
        answer = self._renderer.redirect(self._renderer.url("/"))
        answer.set_cookie(
            KEY_COOKIE, quote(key), path=self._renderer.base, secure=self._is_secure, httponly=True, samesite="strict"
        )
        return answer

    def sign_out(self) -> Response:
        """Have the browser forget the key."""
        answer = self._renderer.redirect(self._renderer.url("/"))
        answer.delete_cookie(
            KEY_COOKIE, path=self._renderer.base, secure=self._is_secure, httponly=True, samesite="strict"
        )
        return answer

    def _page(self, request: Request, status: int, reason: str) -> Response:
        return self._renderer.page(request, "sign_in.html", status, reason=reason)


def _with_key(scope: Scope, key: str | None) -> Scope:
    """The request as an API client would have sent it with this key."""
    headers = [(name, value) for name, value in scope["headers"] if key is None or name != _AUTHORIZATION]
    if key is not None:
        headers.append((_AUTHORIZATION, b"Bearer " + key.strip().encode()))
    return {**scope, "headers": headers}
