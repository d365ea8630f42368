"""From an HTTP request to the writer and back: keys, versions, headers, and how commands are documented."""

import hashlib
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from command.domain.refusals import Refused
from command.metrics import CommandMetrics
from command.problems import problem_of
from command.submission import (
    Answer,
    Command,
    Key,
    KeyReused,
    OutcomeUnknown,
    Overloaded,
    Submission,
    Unavailable,
    one_line,
)
from command.trial import Trial
from command.writer import Writer
from contract.caching import NO_STORE
from contract.callers import caller_of, scope
from contract.headers import KEY_LENGTH_MAX, idempotency_key
from contract.observation import observation_of
from contract.openapi import POSITION, header, header_reference, problems
from contract.problems import Problem
from contract.times import rfc3339
from eventlog.codec import UnreadableEvent, encode
from eventlog.ids import new_id

_TRACED = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][13579bdf]")
# It takes a deployment, not a moment.
_UNREADABLE_RETRY_SECONDS = 60
# Errors that the writer raises: the code of the problem, and its detail with the reason in it.
_FAILURES: dict[type[Exception], tuple[str, str]] = {
    KeyReused: ("idempotency-key-reused", "This Idempotency-Key was used for another request; this one was not tried."),
    Overloaded: ("overloaded", "The command was not tried: {}."),
    Unavailable: ("unavailable", "The command was not accepted: {}."),
    UnreadableEvent: ("unreadable-stream", "The history cannot be read: {}."),
    OutcomeUnknown: ("outcome-unknown", "The command may or may not have been accepted: {}."),
}
# Of problems whose outcome does not follow from their status.
_OUTCOMES = {"overloaded": "overloaded", "outcome-unknown": "outcome_unknown"}

log = logging.getLogger(__name__)

Method = Literal["POST", "PUT", "DELETE"]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


class Commands:
    def __init__(self, writer: Writer, metrics: CommandMetrics | None = None) -> None:
        self._writer = writer
        self._metrics = metrics or CommandMetrics()

    async def run(self, request: Request, command: Command, body: BaseModel | None = None) -> Response:
        """Have `command` decided, and answer as the contract says. `body` is what the Idempotency-Key stands for."""
        if _is_dry_run(request):
            return await self._tried(request, command, body)
        seen = observation_of(request.scope)
        seen.command = type(command).__name__
        seen.outcome, code = "failed", "internal-error"
        try:
            answer, command_id = await self._run(request, command, body)
            seen.outcome, code = "replayed" if answer.replayed else "accepted" if answer.appended else "unchanged", ""
        except Problem as problem:
            code = problem.code
            seen.outcome = _OUTCOMES.get(code) or ("failed" if problem.status_code >= 500 else "refused")
            raise
        finally:
            self._metrics.count(seen.command, seen.outcome, code)
        seen.stream, seen.version, seen.position = _stream_of(answer), answer.version, answer.position
        return _response(answer, command_id)

    async def _tried(self, request: Request, command: Command, body: BaseModel | None) -> Response:
        """Decide the command without appending. It is not counted; its Idempotency-Key is not used."""
        answer, _ = await self._run(request, Trial(command, rfc3339(datetime.now(UTC))), body)
        content = b'{"dry_run":true,"would":%b,"position":%d}' % (answer.body, answer.position)
        return Response(content, 200, {"Sync-Token": str(answer.position)} | NO_STORE, "application/json")

    async def _run(self, request: Request, command: Command, body: BaseModel | None) -> tuple[Answer, str]:
        command_id = new_id()
        key = _key(request, body) if request.method == "POST" else None
        if isinstance(command, Trial):
            key = None
        try:
            answer = await self._writer.submit(Submission(command, _metadata(request, command_id), key))
        except Refused as refusal:
            raise problem_of(refusal) from None
        except tuple(_FAILURES) as error:
            code, said = _FAILURES[type(error)]
            headers = {"Command-Id": command_id}
            if isinstance(error, UnreadableEvent):
                log.warning("%s %s (%s) was refused: %s", request.method, request.url.path, command_id, error)
                headers["Retry-After"] = str(_UNREADABLE_RETRY_SECONDS)
            raise Problem(code, said.format(one_line(error)), headers=headers) from None
        return answer, command_id


def _is_dry_run(request: Request) -> bool:
    """Whether the command is only tried. Raises Problem `invalid-parameter`."""
    if not request.scope["query_string"]:
        return False
    values = request.query_params.getlist("dry_run")
    if values not in (["true"], ["false"]):
        raise Problem("invalid-parameter", "dry_run: must be true or false, once.", parameter="dry_run")
    return values == ["true"]


def route(
    routes: APIRouter, method: Method, path: str, view: type[BaseModel] | None, *codes: str, needs: str
) -> Callable[[Endpoint], Endpoint]:
    """A decorator that serves a command, documented with its headers, its answer and its problems.

    `view` is the model of the answer; None: it has no body. `codes` are those of the problems that do not follow from
    `method` and `path`. `needs` is the scope that the caller needs.
    """
    headers: dict[str, Any] = {
        "Sync-Token": {"schema": POSITION, "description": "send it with a read to read this write"},
        "Command-Id": header_reference("Command-Id"),
    }
    status, taken, errors = 200 if view else 204, [], list(codes)
    if view is not None:
        headers["ETag"] = header_reference("ETag")
    if "{" in path:
        errors = ["not-found", *codes, "version-mismatch"]
        taken.append(_IF_MATCH)
    elif method == "POST":
        status = 201
        headers["Location"] = header_reference("Location")
    if method == "POST":
        errors.append("idempotency-key-reused")
        headers["Idempotency-Replayed"] = _REPLAYED
        taken.insert(0, _IDEMPOTENCY_KEY)
    answer: dict[str, Any] = {"headers": headers, "description": "Done"}
    if view is not None:
        answer["model"] = view
    # A command without a view is a DELETE, which has no body.
    every = _EVERY_COMMAND if view is None else (*_EVERY_COMMAND, *_EVERY_BODY)
    security = scope(needs)
    return routes.api_route(
        path,
        methods=[method],
        status_code=status,
        responses={status: answer, **problems(*errors, *every, security=security)},
        response_model=None,
        # Generators take an operation's first good answer as its type, so dry_run is no parameter in the document.
        openapi_extra={"security": security, "parameters": taken, "x-dry-run": True},
    )


_REPLAYED = {
    "schema": {"type": "string", "const": "true"},
    "description": "this is the answer to an earlier request with this key",
}
_IDEMPOTENCY_KEY = header(
    "Idempotency-Key",
    "Repeating the request with the same key does it once: the first answer comes again. Kept for 30 days at least. No "
    "word that programs write for a missing value, such as null.",
    # Not only spaces and quotation marks.
    {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH_MAX, "pattern": "^[ -~]*[!#-~][ -~]*$"},
)
_IF_MATCH = header(
    "If-Match",
    "Do it only if the resource still has this version: the ETag of an earlier answer.",
    {"type": "string", "pattern": r'^(\*|(W/)?"[ !#-~]*")$', "examples": ['"3"']},
)
_EVERY_COMMAND = ("unknown-parameter", "invalid-header", "unavailable", "unreadable-stream", "outcome-unknown")
_EVERY_BODY = ("malformed-json", "body-too-large", "unsupported-media-type", "validation-error")


def _key(request: Request, body: BaseModel | None) -> Key | None:
    key = idempotency_key(request)
    if key is None:
        return None
    # Only the members that say something: a release that adds an optional one must not change old fingerprints.
    content = body.model_dump_json(exclude_unset=True, exclude_defaults=True).encode() if body is not None else b""
    fingerprint = hashlib.blake2b(f"{request.method} {request.url.path}\n".encode() + content, digest_size=16).digest()
    return Key(caller_of(request).account.encode(), key, fingerprint)


def _metadata(request: Request, command_id: str) -> bytes:
    metadata: dict[str, object] = {"actor": caller_of(request).actor, "command_id": command_id}
    if known_as := observation_of(request.scope).request_id:
        metadata["request_id"] = known_as.decode()
    # W3C Trace Context: the last byte's lowest bit says that the caller records this trace.
    if (trace := request.headers.get("traceparent", "")) and _TRACED.fullmatch(trace):
        metadata["traceparent"] = trace
    return encode(metadata)


def _stream_of(answer: Answer) -> str | None:
    """The stream `order-<id>` of the resource `/orders/<id>`."""
    return answer.location and answer.location[1:].replace("s/", "-", 1)


def _response(answer: Answer, command_id: str) -> Response:
    headers = {"Sync-Token": str(answer.position), "Command-Id": command_id} | NO_STORE
    if answer.version is not None:
        headers["ETag"] = f'"{answer.version}"'
    if answer.status == 201 and answer.location is not None:
        headers["Location"] = answer.location
    if answer.replayed:
        headers["Idempotency-Replayed"] = "true"
    return Response(answer.body, answer.status, headers, "application/json" if answer.body else None)
