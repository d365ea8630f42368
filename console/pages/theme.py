"""The choice between light, dark, and what the system says: a cookie, so that the first byte has the right colours."""

from starlette.requests import Request
from starlette.responses import Response

from console.desk import Desk
from console.rendering import THEME_COOKIE, THEMES

YEAR_SECONDS = 365 * 24 * 3600


def choose(desk: Desk, request: Request) -> Response:
    """Keep the choice, and go back to the page it was made on."""
    wanted, back = request.state.form.get("theme"), request.state.form.get("back", "")
    answer = desk.renderer.redirect(back)
    answer.set_cookie(
        THEME_COOKIE,
        wanted if wanted in THEMES else "system",
        max_age=YEAR_SECONDS,
        path=desk.renderer.base,
        samesite="strict",
        httponly=True,
    )
    return answer
