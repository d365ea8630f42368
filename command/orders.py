"""Commands about orders: place one, cancel it or some of its lines."""

from collections.abc import Iterable, Mapping
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError
from starlette.requests import Request
from starlette.responses import Response

from command.api import Commands, documented, path_id
from command.domain import order as rules
from command.domain import product, user
from command.domain.order import WantedLine
from command.domain.product import Product
from command.domain.refusals import ExternalIdTaken, Missing, UnknownUser
from command.fields import LINES_MAX, Body, ExternalId, GivenMoney, Id, LineNumber, Quantity, RequiredText, Sku, Text
from command.states import Entity, States, split
from command.submission import Answered, Outcome
from command.versions import check_version
from command.views import order_view
from contract.callers import ANY_CALLER, EVERYONE, Viewer, caller_of
from contract.examples import CANCEL, PLACE, shown
from contract.headers import if_match
from contract.problems import Problem
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


class CancelledLineBody(Body):
    line: LineNumber
    quantity: Quantity


class CancelOrderBody(Body):
    """Without `lines` the whole order is cancelled. `null` is refused: a client may have lost its list."""

    model_config = shown(CANCEL)

    reason: RequiredText | None = None
    lines: Annotated[list[CancelledLineBody], Field(min_length=1, max_length=LINES_MAX)] = Field(default_factory=list)


class ProductRef(Record, frozen=True):
    """A product by its id or by its SKU."""

    product_id: str | None
    sku: str | None

    def stream(self, states: States) -> str | None:
        """The product's stream; None for a SKU that nobody has. Expects the claim on the SKU to be known."""
        if self.product_id is not None:
            return product.stream(self.product_id)
        return states.owner(product.sku_claim(self.sku or ""))


class PlaceOrder(Record, frozen=True):
    order_id: str
    user_id: str
    products: tuple[ProductRef, ...]
    lines: tuple[WantedLine, ...]
    external_id: str | None = None
    note: str | None = None
    viewer: Viewer = EVERYONE

    def reads(self, states: States) -> Iterable[str]:
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
                raise ExternalIdTaken(self.external_id, owner if _sees(self.viewer, states, split(owner)[1]) else None)
            claimed[claim] = rules.stream(self.order_id)
        buyer = states.user(self.user_id)
        events = rules.place(
            self.order_id,
            self.user_id,
            buyer.state if buyer else None,
            self.lines,
            [self._product(states, ref) for ref in self.products],
            self.external_id,
            self.note,
        )
        return Outcome(events, lambda states: _answer(201, states, self.order_id), claimed)

    @staticmethod
    def _product(states: States, ref: ProductRef) -> Product | None:
        stream = ref.stream(states)
        entity = states.product(split(stream)[1]) if stream else None
        return entity.state if entity else None


class CancelOrder(Record, frozen=True):
    """`quantities` maps line numbers to what is cancelled of them; None cancels all that is left."""

    order_id: str
    quantities: Mapping[int, int] | None
    reason: str | None
    expected_version: int | None = None
    viewer: Viewer = EVERYONE

    def reads(self, states: States) -> Iterable[str]:
        yield rules.stream(self.order_id)
        # Another customer's order costs no more than one that does not exist.
        if rules.stream(self.order_id) in states and _sees(self.viewer, states, self.order_id):
            yield from products_of(states, self.order_id)

    def decide(self, states: States) -> Outcome:
        entity = states.order(self.order_id)
        if entity is None or not self.viewer.sees(entity.state.user_id):
            raise Missing(rules.stream(self.order_id))
        if self.quantities is not None or entity.state.status != "cancelled":
            check_version(entity, self.expected_version)
        products = known_products(states, entity)
        events = rules.cancel(entity.state, products, self.quantities, self.reason)
        return Outcome(events, lambda states: _answer(200, states, self.order_id))


def _sees(viewer: Viewer, states: States, order_id: str) -> bool:
    return viewer.everyone or ((entity := states.order(order_id)) is not None and viewer.sees(entity.state.user_id))


def products_of(states: States, order_id: str) -> Iterable[str]:
    """The streams of the order's products, once the order is known."""
    if rules.stream(order_id) in states and (entity := states.order(order_id)):
        yield from {product.stream(item.product_id) for item in entity.state.items}


def known_products(states: States, order: Entity[rules.Order]) -> dict[str, Product]:
    """The order's products, by id."""
    entities = {item.product_id: states.product(item.product_id) for item in order.state.items}
    return {product_id: entity.state for product_id, entity in entities.items() if entity}


def _answer(status: int, states: States, order_id: str) -> Answered:
    entity = states.order(order_id)
    assert entity is not None
    return Answered(status, entity.version, f"/orders/{order_id}", order_view(entity))


def _wanted(body: PlaceOrderBody, viewer: Viewer) -> PlaceOrder:
    products = tuple([ProductRef(item.product_id, item.sku) for item in body.items])
    lines = tuple([WantedLine(item.quantity, item.expected_unit_price) for item in body.items])
    return PlaceOrder(new_id(), body.user_id, products, lines, body.external_id, body.note, viewer)


def _quantities(body: CancelOrderBody) -> dict[int, int] | None:
    """What is cancelled of each line; a line named twice is cancelled by the sum."""
    if not body.lines:
        return None
    quantities: dict[int, int] = {}
    for it in body.lines:
        quantities[it.line] = quantities.get(it.line, 0) + it.quantity
    return quantities


def router(commands: Commands) -> APIRouter:
    """The routes, on the given writer."""
    routes = APIRouter(route_class=StrictRoute, tags=["orders"])

    @routes.post(
        "/orders",
        status_code=201,
        **documented(
            OrderView,
            201,
            "insufficient-stock",
            "price-changed",
            "duplicate-external-id",
            "unknown-user",
            "unknown-product",
            "product-discontinued",
            "mixed-currency",
            "idempotency-key-reused",
            needs="orders:write",
        ),
    )
    async def place_order(body: PlaceOrderBody, request: Request) -> Response:
        """Place an order: it, its items and its stock succeed together, or not at all."""
        return await commands.run(request, _wanted(body, caller_of(request).viewer), body)

    @routes.post(
        "/orders/{id}/cancel",
        **documented(
            OrderView,
            200,
            "not-found",
            "quantity-not-cancellable",
            "unknown-line",
            "version-mismatch",
            "idempotency-key-reused",
            needs="orders:write",
        ),
    )
    async def cancel_order(id: str, request: Request, body: CancelOrderBody | None = None) -> Response:
        """Cancel what is left of an order, or some of its lines, and restock. Already cancelled: nothing happens."""
        asked = body or CancelOrderBody()
        viewer = caller_of(request).viewer
        command = CancelOrder(path_id(id), _quantities(asked), asked.reason, if_match(request), viewer)
        return await commands.run(request, command, asked)

    @routes.api_route(
        "/orders/{id}",
        methods=["DELETE", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"],
        include_in_schema=False,
        openapi_extra={"security": ANY_CALLER},
    )
    async def refuse_rewriting(id: str) -> Response:
        """An order is history: it is cancelled, never edited or deleted."""
        raise Problem(
            "method-not-allowed",
            f"An order is not changed or deleted; cancel it with POST /orders/{id[:36]}/cancel.",
            headers={"Allow": "GET, HEAD"},
        )

    return routes
