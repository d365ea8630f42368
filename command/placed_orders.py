"""Commands on orders that were placed, with their bodies and routes: cancelling an order, or some of its lines."""

from collections.abc import Container, Iterable, Mapping
from typing import Annotated

from fastapi import APIRouter
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from command.api import Commands, route
from command.domain import cancelling, product
from command.domain import order as rules
from command.domain.product import Product
from command.domain.refusals import Missing
from command.fields import LINES_MAX, Body, LineNumber, Quantity, RequiredText
from command.states import States
from command.submission import Outcome
from command.views import resource
from contract.callers import ANY_CALLER, EVERYONE, Viewer, caller_of
from contract.examples import CANCEL, shown
from contract.headers import if_match
from contract.names import known_id
from contract.problems import Problem
from contract.resources import OrderView
from eventlog.events.record import Record


class CancelledLineBody(Body):
    line: LineNumber
    quantity: Quantity


class CancelOrderBody(Body):
    """Without `lines` the whole order is cancelled. `null` is refused: a client may have lost its list."""

    model_config = shown(CANCEL)

    reason: RequiredText | None = None
    lines: Annotated[list[CancelledLineBody], Field(min_length=1, max_length=LINES_MAX)] = Field(default_factory=list)


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
        if rules.stream(self.order_id) in states and sees(self.viewer, states, self.order_id):
            yield from products_of(states, self.order_id)

    def decide(self, states: States) -> Outcome:
        entity = states.order(self.order_id)
        if entity is None or not self.viewer.sees(entity.state.user_id):
            raise Missing(rules.stream(self.order_id))
        if self.quantities is not None or entity.state.status != "cancelled":
            entity.check_version(self.expected_version)
        products = known_products(states, entity.state)
        events = cancelling.cancel(entity.state, products, self.quantities, self.reason)
        return Outcome(events, resource(200, rules.stream(self.order_id)))


def sees(viewer: Viewer, states: States, order_id: str) -> bool:
    """Whether the viewer may see this order, which must be loaded unless he sees everything."""
    return viewer.everyone or ((entity := states.order(order_id)) is not None and viewer.sees(entity.state.user_id))


def products_of(states: States, order_id: str, skus: Container[str] | None = None) -> Iterable[str]:
    """The streams of the order's products, or of those with these SKUs, once the order is known."""
    if rules.stream(order_id) in states and (entity := states.order(order_id)):
        yield from map(product.stream, _product_ids(entity.state, skus))


def known_products(states: States, order: rules.Order, skus: Container[str] | None = None) -> dict[str, Product]:
    entities = {product_id: states.product(product_id) for product_id in _product_ids(order, skus)}
    return {product_id: entity.state for product_id, entity in entities.items() if entity}


def _product_ids(order: rules.Order, skus: Container[str] | None) -> set[str]:
    return {item.product_id for item in order.items if skus is None or item.sku in skus}


def _quantities(body: CancelOrderBody) -> dict[int, int] | None:
    """The pieces to cancel by line; a line that the request names twice is cancelled by the sum."""
    if not body.lines:
        return None
    quantities: dict[int, int] = {}
    for it in body.lines:
        quantities[it.line] = quantities.get(it.line, 0) + it.quantity
    return quantities


def add_routes(routes: APIRouter, commands: Commands) -> None:
    @route(
        routes,
        "POST",
        "/orders/{id}/cancel",
        OrderView,
        "quantity-not-cancellable",
        "unknown-line",
        needs="orders:write",
    )
    async def cancel_order(id: str, request: Request, body: CancelOrderBody | None = None) -> Response:
        """Cancel what is left of an order, or some of its lines, and restock. Already cancelled: nothing happens."""
        asked = body or CancelOrderBody()
        viewer = caller_of(request).viewer
        command = CancelOrder(known_id(id), _quantities(asked), asked.reason, if_match(request), viewer)
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
            f"An order is never rewritten or deleted. To cancel it, send POST /orders/{id[:36]}/cancel.",
            headers={"Allow": "GET, HEAD"},
        )
