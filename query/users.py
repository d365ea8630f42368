"""GET /users and /users/{id}."""

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field
from pydantic.functional_validators import AfterValidator
from sqlalchemy import bindparam

from contract.callers import scope
from contract.emails import email_key
from contract.requests import StrictRoute
from contract.resources import UserPage, UserView
from query.database import Reads
from query.filters import Filter
from query.listing import Listing
from query.lookup import Lookup
from query.paging import Sort
from query.parameters import Name, PageParameters, time_of
from query.routes import get
from query.single import Past, PastParameters, answer
from query.sync import Sync
from query.views import user_view
from readmodel.shop import users


def _address_key(text: str) -> str:
    if " " in text:  # a + that was not escaped: nobody has such an address
        raise ValueError("must be an e-mail address (a + is sent as %2B)")
    return email_key(text)


# Compared as the write side compares it.
EmailAddress = Annotated[
    Name, AfterValidator(_address_key), Field(json_schema_extra={"pattern": r"^[^\x00 ]*[^\x00\s'\x22][^\x00 ]*$"})
]


class UsersParameters(PageParameters):
    sort: Literal["created_at", "-created_at"] = Field(
        "-created_at", description="`-` for descending; the id decides between equals"
    )
    email: EmailAddress | None = Field(None, description="only the user with this address (case does not count)")
    external_id: Name | None = Field(None, description="only the user with this external_id (case counts)")


SORTS = {"created_at": Sort(users.c.created_at, time_of)}


FILTERS = {
    "id": Filter(users.c.id == bindparam("id", type_=users.c.id.type)),  # no parameter: for a viewer of one user
    "email": Filter(users.c.email_key == bindparam("email", type_=users.c.email_key.type)),
    "external_id": Filter(users.c.external_id == bindparam("external_id", type_=users.c.external_id.type)),
}


def router(reads: Reads, sync: Sync, past: Past | None = None) -> APIRouter:
    routes = APIRouter(tags=["users"], route_class=StrictRoute)
    lookup = Lookup(reads, users, user_view(users), gone=users.c.deleted_at.is_not(None), owner=users.c.id)
    listing = Listing(
        reads,
        sync,
        users,
        user_view,
        sorts=SORTS,
        filters=FILTERS,
        visible=users.c.deleted_at.is_(None),
        belongs_to="id",
    )

    @get(routes, "/users", answers=UserPage, security=scope("users:read"), parameters=UsersParameters)
    async def list_users(request: Request) -> Response:
        """Users who were not deleted, newest first."""
        return await listing.answer(request, UsersParameters.of(request))

    @get(
        routes,
        "/users/{id}",
        answers=UserView,
        security=scope("users:read"),
        errors=["gone"],
        parameters=PastParameters if past else None,
        versioned=True,
    )
    async def get_user(request: Request, id: str) -> Response:
        """One user."""
        return await answer(request, lookup, sync, id, past)

    return routes
