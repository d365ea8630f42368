"""Turning a template into an answer: the Jinja environment, and the headers that every page has."""

import secrets
from typing import Any
from urllib.parse import urlencode

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse

from console import words
from console.static import DIGEST
from contract.times import rfc3339

# The pages of the menu: path and name.
MENU = (
    ("/", "Overview"),
    ("/events", "Events"),
    ("/projections", "Projections"),
    ("/parked", "Parked"),
    ("/jobs", "Jobs"),
    ("/imports", "Imports"),
    ("/doctor", "Doctor"),
    ("/audit", "Audit"),
    ("/keys", "Keys"),
    ("/configuration", "Configuration"),
)

THEMES = ("system", "light", "dark")
THEME_COOKIE = "orders_theme"
# In place of texts that may quote names and e-mail addresses.
HIDDEN_TEXT = "Shown to keys with the scope users:read"
KEY_COOKIE = "orders_key"

# A script runs, and an hx- attribute acts, only with the nonce of its page. The policy `htmx` is that of hx-csp.
_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types htmx"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    # `no-referrer` would make browsers send `Origin: null` with the console's own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Renderer:
    """Renders the templates for pages under `path`, to which browsers get with `prefix` in front."""

    def __init__(self, path: str, prefix: str) -> None:
        self.base = base = prefix + path
        self._prefix = prefix
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("console"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            finalize=words.visible,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        filters = (words.number, words.span, words.moment, words.minute, words.size, words.short)
        self._templates.filters.update({it.__name__: it for it in (*filters, words.ago, words.code)} | {"iso": rfc3339})
        self._templates.globals.update(
            menu=MENU,
            url=self.url,
            static=lambda name: f"{base}/static/{DIGEST}/{name}",
            counted=words.counted,
            hidden_text=HIDDEN_TEXT,
        )

    def url(self, path: str, **query: object) -> str:
        """The URL of a page; parameters that are None or empty are left out."""
        given = {name: value for name, value in query.items() if value not in (None, "", (), [])}
        return self.base + path + (f"?{urlencode(given, doseq=True)}" if given else "")

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        nonce = secrets.token_urlsafe(18)
        theme = request.cookies.get(THEME_COOKIE, "")
        # The address of this page, for links back to it and for its own refreshing.
        here = self.base + request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        query = request.url.query
        text = self._templates.get_template(template).render(
            values
            | {
                "nonce": nonce,
                "theme": theme if theme in THEMES else "system",
                "may_pass": status >= 500,
                "here": f"{here}?{query}" if query else here,
                "path": here.removeprefix(self.base),
                "may_act": (caller := request.scope.get("caller")) is not None and "ops:write" in caller.scopes,
                "may_see_people": caller is not None and "users:read" in caller.scopes,
                "has_key": KEY_COOKIE in request.cookies,
            }
        )
        headers = {**_HEADERS, "Content-Security-Policy": _POLICY.format(nonce=nonce)}
        return HTMLResponse(text, status, headers)

    def redirect(self, to: str = "") -> RedirectResponse:
        """An answer to a form: have the browser GET another page of the console; the overview if `to` is none.

        The service puts the prefix in front of the Location of every answer, so here it is taken off.
        """
        is_ours = to.startswith(f"{self.base}/")
        return RedirectResponse((to if is_ours else self.url("/")).removeprefix(self._prefix), 303, headers=_HEADERS)
