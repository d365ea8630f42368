"""Signing in: a caller with the scope `ops:read` may look.

A browser signs in with an API key and keeps it in a cookie. No script can read the cookie, and no page of another site
can have it sent. So a key that is revoked ends the visit too, in every process of the API.
"""

import logging
from urllib.parse import quote, unquote

import psycopg
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from console.parts import Parts
from console.rendering import KEY_COOKIE, Renderer
from contract.callers import Caller
from contract.problems import Problem
from eventlog.append import Unreplicated
from eventlog.failures import for_the_log, in_plain_words

# Browsers drop a larger cookie, and do not say so.
COOKIE_BYTES_MAX = 4_000
_AUTHORIZATION = b"authorization"

log = logging.getLogger(__name__)


class Gate:
    """Lets requests in that come with an API key: in the cookie, or as `Authorization: Bearer`."""

    def __init__(self, parts: Parts, renderer: Renderer) -> None:
        self._parts = parts
        self._renderer = renderer

    async def refusal(self, request: Request) -> Response | None:
        """The answer to a request that may not come in; None lets it in."""
        kept = request.cookies.get(KEY_COOKIE)
        key = None if kept is None else unquote(kept)
        try:
            request.scope["caller"] = await self._parts.admit(_with_key(request.scope, key))
        except Problem as problem:
            return self._refused(request, problem, "" if key is None else problem.detail)
        return None

    async def sign_in(self, request: Request, key: str) -> Response:
        """Keep the key in the cookie, if it lets its owner in."""
        key = key.strip()
        try:
            await self._parts.admit(_with_key(request.scope, key))
        except Problem as problem:
            return self._refused(request, problem, problem.detail)
        value = quote(key)
        if len(value) > COOKIE_BYTES_MAX:
            raise HTTPException(400, f"A browser keeps no key or token of more than {COOKIE_BYTES_MAX:,} bytes.")
        return self._with_cookie(value)

    async def sign_in_by_link(self, request: Request, token: str) -> Response:
        """Use up a link that `orders up` has printed, and keep the key that it gives in the cookie."""
        try:
            issued = await self._parts.use_link(token)
        except (psycopg.Error, Unreplicated, TimeoutError) as error:
            log.warning("a sign-in link could not be used: %s", for_the_log(error))
            return self._page(request, 503, f"The link was not used: {in_plain_words(error)}. Try it again.")
        if issued is None:
            reason = "This link was used before, or has expired. For a new one, run in a terminal: orders keys link"
            return self._page(request, 401, reason)
        return self._with_cookie(quote(issued.text))

    def _with_cookie(self, value: str) -> Response:
        answer = self._renderer.redirect()
        answer.set_cookie(
            KEY_COOKIE,
            value,
            max_age=None if value else 0,
            path=self._renderer.base,
            secure=self._parts.is_secure,
            httponly=True,
            samesite="strict",
        )
        return answer

    def sign_out(self) -> Response:
        return self._with_cookie("")

    def _refused(self, request: Request, problem: Problem, reason: str) -> Response:
        page = self._page(request, problem.status_code, reason)
        page.headers.update(problem.headers or {})
        return page

    def _page(self, request: Request, status: int, reason: str) -> Response:
        page = self._renderer.page(request, "sign_in.html", status, reason=reason)
        if "HX-Request" in request.headers:
            page.headers["HX-Refresh"] = "true"  # the whole page asks for the key, instead of the part that refreshes
        return page


def demand_scope(request: Request, scope: str) -> Caller:
    """The caller, who has the scope. Raises HTTPException 403."""
    caller: Caller = request.scope["caller"]
    if scope not in caller.scopes:
        raise HTTPException(403, f"This needs a key with the scope {scope}, which yours lacks.")
    return caller


def _with_key(scope: Scope, key: str | None) -> Scope:
    headers = [(name, value) for name, value in scope["headers"] if key is None or name != _AUTHORIZATION]
    if key is not None:
        headers.append((_AUTHORIZATION, b"Bearer " + key.encode()))
    return {**scope, "headers": headers}
