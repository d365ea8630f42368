"""Commands about users: register, change, delete."""

from collections.abc import Iterable
from dataclasses import dataclass

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from command.api import Commands, documented, path_id
from command.domain import user as rules
from command.domain.refusals import AlreadyRegistered, Deleted, EmailTaken, ExternalIdTaken, Missing
from command.domain.user import User
from command.fields import Body, Email, ExternalId, Name
from command.states import Entity, States
from command.submission import Answered, Outcome
from command.versions import check_version
from command.views import user_view
from contract.callers import EVERYONE, Caller, Viewer, caller_of
from contract.emails import email_key
from contract.examples import REGISTER, shown
from contract.headers import if_match
from contract.problems import Problem
from contract.requests import StrictRoute
from contract.resources import UserView
from eventlog.ids import new_id


class RegisterUserBody(Body):
    model_config = shown(REGISTER)

    name: Name
    email: Email
    external_id: ExternalId | None = None


class ChangeUserBody(Body):
    model_config = shown({"name": "Ada King", "email": "ada@example.org"})

    name: Name
    email: Email


@dataclass(frozen=True, slots=True)
class RegisterUser:
    user_id: str
    name: str
    email: str
    external_id: str | None
    viewer: Viewer = EVERYONE

    def _claims(self) -> list[str]:
        claims = [rules.email_claim(email_key(self.email))]
        if self.external_id is not None:
            claims.append(rules.external_id_claim(self.external_id))
        return claims

    def reads(self, states: States) -> Iterable[str]:
        return self._claims()

    def decide(self, states: States) -> Outcome:
        stream = rules.stream(self.user_id)
        if not self.viewer.everyone and self.viewer.user_id is not None:
            raise AlreadyRegistered(self.viewer.user_id)
        if self.external_id is not None and (owner := states.owner(rules.external_id_claim(self.external_id))):
            raise ExternalIdTaken(self.external_id, owner)
        if states.owner(rules.email_claim(email_key(self.email))):
            raise EmailTaken(self.email)
        events = rules.register(self.name, self.email, email_key(self.email), self.external_id)
        return Outcome(
            [(stream, event) for event in events],
            lambda states: _answer(201, states, self.user_id),
            claimed=dict.fromkeys(self._claims(), stream),
        )


@dataclass(frozen=True, slots=True)
class ChangeUser:
    user_id: str
    name: str
    email: str
    expected_version: int | None
    viewer: Viewer = EVERYONE

    def reads(self, states: States) -> Iterable[str]:
        if not self.viewer.sees(self.user_id):
            return []  # another customer's id must not take another time than one that does not exist
        return [rules.stream(self.user_id), rules.email_claim(email_key(self.email))]

    def decide(self, states: States) -> Outcome:
        stream = rules.stream(self.user_id)
        user = _existing(states, self.user_id, self.expected_version, self.viewer)
        key = email_key(self.email)
        claim, old = rules.email_claim(key), rules.email_claim(user.email_key)
        events = rules.change(user, self.name, self.email, key)
        if states.owner(claim) not in (None, stream):
            raise EmailTaken(self.email)
        moved = claim != old
        return Outcome(
            [(stream, event) for event in events],
            lambda states: _answer(200, states, self.user_id),
            claimed={claim: stream} if moved else {},
            released=[old] if moved else [],
        )


@dataclass(frozen=True, slots=True)
class DeleteUser:
    user_id: str
    expected_version: int | None
    viewer: Viewer = EVERYONE

    def reads(self, states: States) -> Iterable[str]:
        return [rules.stream(self.user_id)] if self.viewer.sees(self.user_id) else []

    def decide(self, states: States) -> Outcome:
        stream = rules.stream(self.user_id)
        entity = states.user(self.user_id) if self.viewer.sees(self.user_id) else None
        if entity is not None and entity.state.deleted:
            return Outcome([], lambda states: Answered(204, None, None, b""))
        user = _existing(states, self.user_id, self.expected_version, self.viewer)
        released = [rules.email_claim(user.email_key)]
        if user.external_id is not None:
            released.append(rules.external_id_claim(user.external_id))
        events = rules.delete(user)
        return Outcome(
            [(stream, event) for event in events],
            lambda states: Answered(204, None, None, b""),
            released=released,
        )


def _existing(states: States, user_id: str, expected_version: int | None, viewer: Viewer) -> User:
    entity = states.user(user_id) if viewer.sees(user_id) else None
    if entity is None:
        raise Missing(rules.stream(user_id))
    if entity.state.deleted:
        raise Deleted(rules.stream(user_id))
    check_version(entity, expected_version)
    return entity.state


def _answer(status: int, states: States, user_id: str) -> Answered:
    entity: Entity[User] | None = states.user(user_id)
    assert entity is not None
    return Answered(status, entity.version, f"/users/{user_id}", user_view(entity))


def own_external_id(caller: Caller, given: str | None) -> str | None:
    """The external_id of a new user. A customer registers himself alone, with his token's subject.

    Raises Problem `validation-error`.
    """
    if caller.viewer.everyone:
        return given
    if given is not None and given != caller.subject:
        error = {"pointer": "/external_id", "code": "not-own", "detail": "must be the subject of the token, or absent"}
        raise Problem("validation-error", "A customer registers himself alone.", errors=[error])
    return caller.subject


def router(commands: Commands) -> APIRouter:
    """The routes, on the given writer."""
    routes = APIRouter(route_class=StrictRoute, tags=["users"])

    @routes.post(
        "/users",
        status_code=201,
        **documented(
            UserView,
            201,
            "email-taken",
            "duplicate-external-id",
            "already-registered",
            "idempotency-key-reused",
            needs="users:write",
        ),
    )
    async def register_user(body: RegisterUserBody, request: Request) -> Response:
        """Register a user. E-mail addresses are unique without regard to case; `external_id` is your own unique key."""
        caller = caller_of(request)
        external_id = own_external_id(caller, body.external_id)
        command = RegisterUser(new_id(), body.name, body.email, external_id, caller.viewer)
        return await commands.run(request, command, body)

    @routes.put(
        "/users/{id}",
        **documented(UserView, 200, "not-found", "gone", "email-taken", "version-mismatch", needs="users:write"),
    )
    async def change_user(id: str, body: ChangeUserBody, request: Request) -> Response:
        """Change a user's name and e-mail address. Nothing is appended when both are equal."""
        viewer = caller_of(request).viewer
        return await commands.run(request, ChangeUser(path_id(id), body.name, body.email, if_match(request), viewer))

    @routes.delete(
        "/users/{id}",
        status_code=204,
        **documented(None, 204, "not-found", "version-mismatch", needs="users:write"),
    )
    async def delete_user(id: str, request: Request) -> Response:
        """Delete a user. Orders stay; the e-mail address and external_id are free again. Again: 204 again."""
        return await commands.run(request, DeleteUser(path_id(id), if_match(request), caller_of(request).viewer))

    return routes
