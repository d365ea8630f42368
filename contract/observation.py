"""Facts about a request for its log line, the metrics and the trace."""

import re
from dataclasses import dataclass

from starlette.types import Scope

from contract.callers import KEY_BEGINNING

PATH_BYTES_MAX = 200

_KEY = "orders.observation"
_API_KEY = re.compile(KEY_BEGINNING.encode() + rb"\w*")


@dataclass(slots=True)
class Observation:
    """The facts about one request. The middleware creates it; the routes fill in what they know.

    `status` is that of the answer, 0 before the answer begins; `code` is the code of the problem in the answer.
    `key_id` is the id of the API key that was sent, if it is valid. `trace` are the ids of the trace and the span, if
    it is recorded. The others are about a command: its `outcome` is `accepted`, `unchanged`, `replayed`, `refused`,
    `overloaded`, `outcome_unknown` or `failed`, and its `position` is the log position of its last event.
    """

    request_id: bytes
    status: int = 0
    command: str | None = None
    outcome: str | None = None
    code: str | None = None
    key_id: str | None = None
    stream: str | None = None
    version: int | None = None
    position: int | None = None
    trace: tuple[int, int] | None = None


def begin(scope: Scope, observation: Observation) -> None:
    scope[_KEY] = observation


def observation_of(scope: Scope) -> Observation:
    """The observation of a request; a new one without an id when no middleware watches the request."""
    found: Observation | None = scope.get(_KEY)
    return Observation(b"") if found is None else found


def route_of(scope: Scope) -> str | None:
    """The path of the request's route, with the names of its parameters; None when no route matched."""
    # FastAPI leaves the route in the scope.
    return getattr(scope.get("route"), "path", None)


def path_shown(raw_path: bytes) -> str:
    """The path for log lines and traces: percent-encoded, so that it cannot break a line, and without API keys."""
    path = _API_KEY.sub(b"(API key)", raw_path)
    return path[:PATH_BYTES_MAX].decode("ascii", "backslashreplace")
