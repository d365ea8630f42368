"""The parts that every page uses."""

import threading
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from anyio import from_thread
from starlette.requests import Request
from starlette.responses import HTMLResponse

from console.database import Database, Unanswered
from console.parts import Parts
from console.pulse import Heart
from console.rendering import Renderer
from contract.problems import Problem

Answer = TypeVar("Answer")

# One page is rendered at a time. The page of an order of a thousand lines takes long and much memory, and several
# threads that render would take turns with the event loop, so commands would wait.
_RENDERING = threading.Lock()


class Desk(NamedTuple):
    parts: Parts
    database: Database
    heart: Heart
    renderer: Renderer

    def ask(self, question: Callable[[], Coroutine[Any, Any, Answer]]) -> Answer:
        """Run a question about the past on the event loop and return its answer. Raises Unanswered."""
        try:
            return from_thread.run(question)
        except Problem as problem:
            raise Unanswered(problem.detail) from problem

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> HTMLResponse:
        """A page with the state of the service at its top. `values` are the template's."""
        if "pulse" not in values:
            values["pulse"] = self.heart.pulse()
        with _RENDERING:
            return self.renderer.page(request, template, status, **values)
