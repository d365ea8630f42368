"""Commands about users: register, change, delete."""

from collections.abc import Iterable

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from command.api import Commands, route
from command.domain import user as rules
from command.domain.refusals import AlreadyRegistered, Deleted, EmailTaken, ExternalIdTaken, Missing
from command.domain.user import User
from command.fields import Body, Email, ExternalId, Name
from command.states import States
from command.submission import Outcome
from command.views import outcome
from contract.callers import EVERYONE, Caller, Viewer, caller_of
from contract.emails import email_key
from contract.examples import REGISTER, shown
from contract.headers import if_match
from contract.names import known_id
from contract.problems import Problem
from contract.requests import StrictRoute
from contract.resources import UserView
from eventlog.events.record import Record
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


class RegisterUser(Record, frozen=True):
    user_id: str
    name: str
    email: str
    external_id: str | None
    viewer: Viewer = EVERYONE

    def reads(self, states: States) -> Iterable[str]:
        return rules.claims(email_key(self.email), self.external_id)

    def decide(self, states: States) -> Outcome:
        stream = rules.stream(self.user_id)
        if not self.viewer.everyone and self.viewer.user_id is not None:
            raise AlreadyRegistered(self.viewer.user_id)
        if self.external_id is not None and (owner := states.owner(rules.external_id_claim(self.external_id))):
            raise ExternalIdTaken(self.external_id, owner)
        if states.owner(rules.email_claim(email_key(self.email))):
            raise EmailTaken(self.email)
        events = rules.register(self.name, self.email, email_key(self.email), self.external_id)
        return outcome(stream, events, 201, claimed=dict.fromkeys(self.reads(states), stream))


class ChangeUser(Record, frozen=True):
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
        if claim == old:
            return outcome(stream, events, 200)
        return outcome(stream, events, 200, claimed={claim: stream}, released=[old])


class DeleteUser(Record, frozen=True):
    user_id: str
    expected_version: int | None
    viewer: Viewer = EVERYONE

    def reads(self, states: States) -> Iterable[str]:
        return [rules.stream(self.user_id)] if self.viewer.sees(self.user_id) else []

    def decide(self, states: States) -> Outcome:
        stream = rules.stream(self.user_id)
        entity = states.user(self.user_id) if self.viewer.sees(self.user_id) else None
        if entity is not None and entity.state.deleted:
            return outcome(stream, [], 204)
        user = _existing(states, self.user_id, self.expected_version, self.viewer)
        return outcome(stream, rules.delete(user), 204, released=rules.claims(user.email_key, user.external_id))


def _existing(states: States, user_id: str, expected_version: int | None, viewer: Viewer) -> User:
    entity = states.user(user_id) if viewer.sees(user_id) else None
    if entity is None:
        raise Missing(rules.stream(user_id))
    if entity.state.deleted:
        raise Deleted(rules.stream(user_id))
    entity.check_version(expected_version)
    return entity.state


def own_external_id(caller: Caller, given: str | None) -> str | None:
    """The external_id of a new user: a customer's is his token's subject. Raises Problem `validation-error`."""
    if caller.viewer.everyone:
        return given
    if given is not None and given != caller.subject:
        error = {"pointer": "/external_id", "code": "not-own", "detail": "must be the subject of the token, or absent"}
        raise Problem("validation-error", "A customer registers himself alone.", errors=[error])
    return caller.subject


def router(commands: Commands) -> APIRouter:
    routes = APIRouter(route_class=StrictRoute, tags=["users"])

    @route(
        routes,
        "POST",
        "/users",
        UserView,
        "email-taken",
        "duplicate-external-id",
        "already-registered",
        needs="users:write",
    )
    async def register_user(body: RegisterUserBody, request: Request) -> Response:
        """Register a user. E-mail addresses are unique without regard to case; `external_id` is your own unique key."""
        caller = caller_of(request)
        external_id = own_external_id(caller, body.external_id)
        command = RegisterUser(new_id(), body.name, body.email, external_id, caller.viewer)
        return await commands.run(request, command, body)

    @route(routes, "PUT", "/users/{id}", UserView, "gone", "email-taken", needs="users:write")
    async def change_user(id: str, body: ChangeUserBody, request: Request) -> Response:
        """Change a user's name and e-mail address. Nothing is appended when both are equal."""
        viewer = caller_of(request).viewer
        return await commands.run(request, ChangeUser(known_id(id), body.name, body.email, if_match(request), viewer))

    @route(routes, "DELETE", "/users/{id}", None, needs="users:write")
    async def delete_user(id: str, request: Request) -> Response:
        """Delete a user. Orders stay; the e-mail address and external_id are free again. Again: 204 again."""
        return await commands.run(request, DeleteUser(known_id(id), if_match(request), caller_of(request).viewer))

    return routes
