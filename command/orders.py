"""Placing an order: its body, its command and its route."""

from collections.abc import Iterable
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError
from starlette.requests import Request
from starlette.responses import Response

from command.api import Commands, route
from command.domain import order as rules
from command.domain import placing, product, user
from command.domain.placing import WantedLine
from command.domain.product import Product
from command.domain.refusals import ExternalIdTaken, UnknownUser
from command.fields import LINES_MAX, Body, ExternalId, GivenMoney, Id, Quantity, Sku, Text
from command.placed_orders import add_routes, sees
from command.states import States
from command.submission import Outcome
from command.views import resource
from contract.callers import EVERYONE, Viewer, caller_of
from contract.examples import PLACE, shown
from contract.names import split
from contract.requests import StrictRoute
from contract.resources import OrderView
from eventlog.events.record import Record
from eventlog.ids import new_id


class ItemBody(Body):
    """A line. It names its product by `product_id` or by `sku`: one of the two, not both."""

    # No oneOf in the document: generators drop the properties beside one, and a line lost its quantity.
    product_id: Id | None = None
    sku: Sku | None = None
    quantity: Quantity
    expected_unit_price: GivenMoney = Field(default_factory=lambda: None)

    @model_validator(mode="after")
    def _one_product(self) -> "ItemBody":
        if (self.product_id is None) == (self.sku is None):
            raise PydanticCustomError("product", "must have product_id or sku, and not both")
        return self


class PlaceOrderBody(Body):
    model_config = shown(PLACE)

    user_id: Id
    items: Annotated[list[ItemBody], Field(min_length=1, max_length=LINES_MAX)]
    external_id: ExternalId | None = None
    note: Text | None = None


class ProductRef(Record, frozen=True):
    product_id: str | None
    sku: str | None

    def stream(self, states: States) -> str | None:
        """The product's stream; None for a SKU that no product has. Expects the claim on the SKU to be known."""
        if self.product_id is not None:
            return product.stream(self.product_id)
        return states.owner(product.sku_claim(self.sku or ""))

    def product(self, states: States) -> Product | None:
        stream = self.stream(states)
        entity = states.product(split(stream)[1]) if stream else None
        return entity.state if entity else None


class PlaceOrder(Record, frozen=True):
    order_id: str
    user_id: str
    products: tuple[ProductRef, ...]
    lines: tuple[WantedLine, ...]
    external_id: str | None = None
    note: str | None = None
    viewer: Viewer = EVERYONE

    def reads(self, states: States) -> Iterable[str]:
        # Another customer's id must not take another time than one that does not exist.
        if not self.viewer.sees(self.user_id):
            return
        yield user.stream(self.user_id)
        if self.external_id is not None:
            own = rules.external_id_claim(self.external_id)
            yield own
            if not self.viewer.everyone and own in states and (holder := states.owner(own)):
                yield holder
        for ref in self.products:
            claim = None if ref.sku is None else product.sku_claim(ref.sku)
            if claim is not None and claim not in states:
                yield claim
            elif stream := ref.stream(states):
                yield stream

    def decide(self, states: States) -> Outcome:
        # Another customer's id answers as one that does not exist.
        if not self.viewer.sees(self.user_id):
            raise UnknownUser(self.user_id)
        claimed: dict[str, str] = {}
        if self.external_id is not None:
            claim = rules.external_id_claim(self.external_id)
            if owner := states.owner(claim):
                shown = owner if sees(self.viewer, states, split(owner)[1]) else None
                raise ExternalIdTaken(self.external_id, shown)
            claimed[claim] = rules.stream(self.order_id)
        entity = states.user(self.user_id)
        buyer = entity.state if entity else None
        products = [ref.product(states) for ref in self.products]
        events = placing.place(self.order_id, self.user_id, buyer, self.lines, products, self.external_id, self.note)
        return Outcome(events, resource(201, rules.stream(self.order_id)), claimed)


def router(commands: Commands) -> APIRouter:
    routes = APIRouter(route_class=StrictRoute, tags=["orders"])

    @route(
        routes,
        "POST",
        "/orders",
        OrderView,
        "insufficient-stock",
        "price-changed",
        "duplicate-external-id",
        "unknown-user",
        "unknown-product",
        "product-discontinued",
        "mixed-currency",
        needs="orders:write",
    )
    async def place_order(body: PlaceOrderBody, request: Request) -> Response:
        """Place an order: it, its items and its stock succeed together, or not at all."""
        products = tuple([ProductRef(item.product_id, item.sku) for item in body.items])
        lines = tuple([WantedLine(item.quantity, item.expected_unit_price) for item in body.items])
        viewer = caller_of(request).viewer
        command = PlaceOrder(new_id(), body.user_id, products, lines, body.external_id, body.note, viewer)
        return await commands.run(request, command, body)

    add_routes(routes, commands)
    return routes
