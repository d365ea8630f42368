"""GET and POST /keys, and rotating and revoking them."""

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import timedelta
from typing import Annotated, Any, TypeVar

import msgspec
import psycopg
from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from access import issuing, roles
from access.guard import missing_scope
from access.holder import KeyHolder
from access.issuing import Issued, LacksScope, NoSuchKey, NoSuchUser, Wanted
from access.keys import ID_LENGTH
from contract.caching import NO_STORE
from contract.callers import SCOPES, Caller, caller_of, scope
from contract.examples import KEY_ID, REGISTERED, page_of, shown
from contract.names import id_of
from contract.observation import observation_of
from contract.openapi import Documented, problems
from contract.problems import Problem
from contract.requests import StrictRoute
from contract.resources import Int32, Timestamp
from database.sessions import Unsuitable
from eventlog import failures
from eventlog.append import Unreplicated
from query.paging import link_to_next
from query.parameters import Number, Parameters
from query.routes import MEDIA_TYPE, Endpoint, Given, get

_OF_CHANGES = ("unknown-parameter", "invalid-header", "unavailable", "outcome-unknown")
_OF_BODIES = ("malformed-json", "body-too-large", "unsupported-media-type", "validation-error")
KEYS_DEFAULT, KEYS_MAX = 100, 1_000
_HOURS_MAX = int(issuing.OVERLAP_MAX.total_seconds() // 3600)


def _one_of(known: Collection[str]) -> AfterValidator:
    def check(value: str) -> str:
        if value not in known:
            raise ValueError(f"must be one of {', '.join(known)}")
        return value

    return AfterValidator(check)


Role = Annotated[str, _one_of(roles.ROLES), Field(json_schema_extra={"enum": list(roles.ROLES)})]
Scope = Annotated[str, _one_of(SCOPES), Field(json_schema_extra={"enum": list(SCOPES)})]
UserId = Annotated[str, AfterValidator(id_of), WithJsonSchema({"type": "string", "format": "uuid"})]

_STRICT = ConfigDict(extra="forbid", strict=True)
_LEFT_OUT: Any = None  # of a member that may be left out, and may not be null

Result = TypeVar("Result")
log = logging.getLogger(__name__)


_EXAMPLE: dict[str, Any] = {
    "id": KEY_ID,
    "account": KEY_ID,
    "name": "web shop",
    "role": "staff",
    "scopes": ["orders:read", "orders:write", "products:read"],
    "user_id": None,
    "created_by": "root@shop-1",
    "created_at": REGISTERED,
    "expires_at": None,
    "revoked_at": None,
    "replaced_by": None,
    "last_used_hour": "2026-11-22T14:00:00.000000Z",
}


class KeyView(BaseModel):
    """An API key, without the key itself."""

    id: str
    account: str
    name: str
    role: str
    scopes: list[str]
    user_id: str | None
    created_by: str
    created_at: Timestamp
    expires_at: Timestamp | None
    revoked_at: Timestamp | None
    replaced_by: str | None
    last_used_hour: Timestamp | None = Field(description="the hour in which it was used last")


class IssuedKeyView(KeyView):
    """A key that was just made."""

    model_config = shown(_EXAMPLE | {"last_used_hour": None, "key": f"ok_live_{KEY_ID}{'0' * 49}"})

    key: str = Field(description="the key itself: shown this once, and never kept")


KeyPage = page_of("KeyPage", KeyView, _EXAMPLE)


class KeyParameters(Parameters):
    """The query parameters of /keys."""

    cursor: str | None = Field(
        None, pattern=f"^[0-9A-Za-z]{{{ID_LENGTH}}}$", description="the `next` of the page before"
    )
    limit: Number = Field(KEYS_DEFAULT, ge=1, le=KEYS_MAX, description="the most keys that the page may have")


class CreateKeyBody(BaseModel):
    model_config = _STRICT | shown(
        {"name": "web shop", "role": "staff", "scopes": ["orders:read", "orders:write", "products:read"]}
    )

    name: str = Field(min_length=1, max_length=issuing.NAME_LENGTH_MAX)
    role: Role
    # These may be left out, but not lost: an empty list or null would give a key that may do more, or never ends.
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=50)] = Field(
        default_factory=list, description="of the role's scopes; all when left out"
    )
    user_id: UserId = Field(default_factory=lambda: _LEFT_OUT, description="of the customer; other roles name no user")
    expires_in_hours: Int32 = Field(
        default_factory=lambda: _LEFT_OUT, ge=1, le=24 * 3650, description="never when left out"
    )


class RotateKeyBody(BaseModel):
    model_config = _STRICT | shown({"overlap_hours": 48})

    overlap_hours: Int32 = Field(24, ge=0, le=_HOURS_MAX, description="for so long the old key stays valid")


def router(database_url: str, holder: KeyHolder) -> APIRouter:
    """The routes. Changes are made on `database_url`; `holder` knows of them at once."""
    routes = APIRouter(route_class=StrictRoute, tags=["operations"])
    writes = scope("keys:write")

    def change(
        method: str, path: str, status: int, *errors: str, answers: type[BaseModel] | None = None
    ) -> Callable[[Endpoint[Given]], Endpoint[Given]]:
        """A decorator that serves a change of keys."""
        documented: Documented = {status: {"model": answers}} if answers else {}
        return routes.api_route(
            path,
            methods=[method],
            status_code=status,
            response_model=None,
            responses=documented | problems(*errors, *_OF_CHANGES, security=writes),
            openapi_extra={"security": writes},
        )

    @get(
        routes,
        "/keys",
        answers=KeyPage,
        security=scope("ops:read"),
        errors=["unavailable"],
        parameters=KeyParameters,
        synced=False,
    )
    async def list_keys(request: Request) -> Response:
        """All API keys, oldest first, without the keys themselves."""
        parameters = KeyParameters.of(request)
        limit = parameters.limit
        rows = await holder.page(parameters.cursor, limit + 1)
        following = rows[limit - 1].id if len(rows) > limit else None
        link = {"Link": link_to_next(request, cursor=following)} if following else {}
        return _json(200, {"data": [row.shown() for row in rows[:limit]], "next": following}, link)

    @change("POST", "/keys", 201, "impossible-key", *_OF_BODIES, answers=IssuedKeyView)
    async def create_key(body: CreateKeyBody, request: Request) -> Response:
        """Make an API key. It has only scopes that the caller has. No Idempotency-Key: the answer is a secret."""
        caller = _changer(request)
        wanted = _wanted(body)
        if lacking := sorted(wanted.granted - caller.scopes):
            raise missing_scope(lacking[0], caller)
        issued = await _done(holder, issuing.create(database_url, wanted, caller.actor, _request_id(request)))
        return _issued(issued)

    @change("POST", "/keys/{id}/rotate", 201, "not-found", *_OF_BODIES, answers=IssuedKeyView)
    async def rotate_key(id: str, request: Request, body: RotateKeyBody | None = None) -> Response:
        """Make a key in place of another, with its account, role and scopes. The old one ends after the overlap."""
        caller = _changer(request)
        overlap = timedelta(hours=body.overlap_hours) if body else issuing.OVERLAP_DEFAULT
        try:
            issued = await _done(
                holder, issuing.rotate(database_url, id, overlap, caller.actor, _request_id(request), caller.scopes)
            )
        except LacksScope as error:
            raise missing_scope(error.scope, caller) from None
        return _issued(issued)

    @change("DELETE", "/keys/{id}", 204, "not-found")
    async def revoke_key(id: str, request: Request) -> Response:
        """Revoke a key: at once in this process, and within two seconds in the others."""
        caller = _changer(request)
        await _done(holder, issuing.revoke(database_url, id, None, caller.actor, _request_id(request)))
        return Response(None, 204, NO_STORE)

    return routes


def _changer(request: Request) -> Caller:
    if "idempotency-key" in request.headers:
        raise Problem("invalid-header", "Idempotency-Key is not taken here: the answer is a secret, and not kept.")
    return caller_of(request)


def _request_id(request: Request) -> str | None:
    known_as = observation_of(request.scope).request_id
    return known_as.decode() or None


def _wanted(body: CreateKeyBody) -> Wanted:
    """The key that the body describes. Raises Problem `impossible-key`."""
    try:
        lifetime = timedelta(hours=body.expires_in_hours) if body.expires_in_hours else None
        return Wanted(body.name, body.role, tuple(body.scopes), body.user_id, lifetime)
    except ValueError as error:
        raise Problem("impossible-key", f"There can be no such key: {error}.") from None


async def _done(holder: KeyHolder, change: Awaitable[Result]) -> Result:
    """Make a change of the keys, then read the keys again, so that this process knows of it at once."""
    try:
        result = await change
    except NoSuchKey as error:
        raise Problem("not-found", f"There is no valid key with the id {str(error)[:100]!r}.") from None
    except NoSuchUser as error:
        raise Problem("impossible-key", f"There can be no such key: there is no user with the id {error}.") from None
    except (Unreplicated, TimeoutError, psycopg.Error) as error:
        if isinstance(error, psycopg.Error) and not failures.is_outage(error):
            raise
        log.warning("a change of the API keys failed: %s", failures.for_the_log(error))
        if isinstance(error, Unsuitable) or failures.is_rolled_back(error):
            raise Problem("unavailable", f"The change was not made: {failures.in_plain_words(error)}.") from error
        raise Problem("outcome-unknown", "The change may or may not have been made: list the keys.") from error
    await holder.refresh()
    return result


def _issued(issued: Issued) -> Response:
    return _json(201, issued.row.shown() | {"key": issued.text})


def _json(status: int, document: object, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(document), status, {**NO_STORE, **(headers or {})}, MEDIA_TYPE)
