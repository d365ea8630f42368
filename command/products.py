"""Commands about products: add, change, discontinue, adjust stock."""

from collections.abc import Iterable
from decimal import Decimal

from fastapi import APIRouter
from pydantic import field_validator
from pydantic_core import PydanticCustomError
from starlette.requests import Request
from starlette.responses import Response

from command.api import Commands, route
from command.domain import product as rules
from command.domain.order import Decided
from command.domain.product import Product
from command.domain.refusals import Missing, SkuTaken
from command.fields import Body, Currency, Money, Name, RequiredText, Sku, Stock, StockDelta
from command.states import States
from command.submission import Answer, Outcome
from command.views import product_answer
from contract.examples import ADD, shown
from contract.headers import if_match
from contract.names import known_id
from contract.requests import StrictRoute
from contract.resources import ProductView
from eventlog.events import ProductEvent
from eventlog.events.record import Record
from eventlog.ids import new_id


class AddProductBody(Body):
    model_config = shown(ADD)

    sku: Sku
    name: Name
    price: Money
    currency: Currency
    stock: Stock | None = 0


class ChangeProductBody(Body):
    model_config = shown({"name": "Assam, 250 g", "price": "7.50"})

    name: Name
    price: Money


class AdjustStockBody(Body):
    model_config = shown({"delta": 20, "reason": "delivery 4711"})

    delta: StockDelta
    reason: RequiredText

    @field_validator("delta")
    @classmethod
    def _not_zero(cls, delta: int) -> int:
        if delta == 0:
            raise PydanticCustomError("zero", "must not be 0")
        return delta


class AddProduct(Record, frozen=True):
    product_id: str
    sku: str
    name: str
    price: Decimal
    currency: str
    stock: int | None

    def reads(self, states: States) -> Iterable[str]:
        return [rules.sku_claim(self.sku)]

    def decide(self, states: States) -> Outcome:
        claim = rules.sku_claim(self.sku)
        if owner := states.owner(claim):
            raise SkuTaken(self.sku, owner)
        events = rules.add(self.sku, self.name, self.price, self.currency, self.stock)
        return _outcome(201, self.product_id, events, claimed={claim: rules.stream(self.product_id)})


class ChangeProduct(Record, frozen=True):
    product_id: str
    name: str
    price: Decimal
    expected_version: int | None

    def reads(self, states: States) -> Iterable[str]:
        return [rules.stream(self.product_id)]

    def decide(self, states: States) -> Outcome:
        product = _existing(states, self.product_id, self.expected_version)
        return _outcome(200, self.product_id, rules.change(product, self.name, self.price))


class DiscontinueProduct(Record, frozen=True):
    product_id: str
    expected_version: int | None

    def reads(self, states: States) -> Iterable[str]:
        return [rules.stream(self.product_id)]

    def decide(self, states: States) -> Outcome:
        entity = states.product(self.product_id)
        expected = None if entity is not None and entity.state.discontinued else self.expected_version
        events = rules.discontinue(_existing(states, self.product_id, expected))
        stream = rules.stream(self.product_id)
        return Outcome([(stream, event) for event in events], lambda _: Answer(204))


class AdjustStock(Record, frozen=True):
    product_id: str
    delta: int
    reason: str
    expected_version: int | None

    def reads(self, states: States) -> Iterable[str]:
        return [rules.stream(self.product_id)]

    def decide(self, states: States) -> Outcome:
        product = _existing(states, self.product_id, self.expected_version)
        return _outcome(200, self.product_id, rules.adjust_stock(product, self.delta, self.reason))


def _existing(states: States, product_id: str, expected_version: int | None) -> Product:
    entity = states.product(product_id)
    if entity is None:
        raise Missing(rules.stream(product_id))
    entity.check_version(expected_version)
    return entity.state


def _outcome(
    status: int, product_id: str, events: list[ProductEvent], claimed: dict[str, str] | None = None
) -> Outcome:
    stream = rules.stream(product_id)
    changes: Decided = [(stream, event) for event in events]
    return Outcome(changes, lambda states: product_answer(status, states, product_id), claimed=claimed or {})


def router(commands: Commands) -> APIRouter:
    routes = APIRouter(route_class=StrictRoute, tags=["products"])

    @route(routes, "POST", "/products", ProductView, "sku-taken", needs="products:write")
    async def add_product(body: AddProductBody, request: Request) -> Response:
        """Add a product. `stock: null` means that it is not kept in stock and can be ordered in any quantity."""
        command = AddProduct(new_id(), body.sku, body.name, body.price, body.currency, body.stock)
        return await commands.run(request, command, body)

    @route(routes, "PUT", "/products/{id}", ProductView, needs="products:write")
    async def change_product(id: str, body: ChangeProductBody, request: Request) -> Response:
        """Change a product's name and price; orders keep the ones they were placed with."""
        return await commands.run(request, ChangeProduct(known_id(id), body.name, body.price, if_match(request)))

    @route(routes, "DELETE", "/products/{id}", None, needs="products:write")
    async def discontinue_product(id: str, request: Request) -> Response:
        """Sell it no longer. Orders stay, and cancelling one still restocks it. Again: 204 again."""
        return await commands.run(request, DiscontinueProduct(known_id(id), if_match(request)))

    @route(
        routes, "POST", "/products/{id}/stock", ProductView, "insufficient-stock", "stock-not-kept", needs="stock:write"
    )
    async def adjust_stock(id: str, body: AdjustStockBody, request: Request) -> Response:
        """Add to the stock, or take from it, never below zero."""
        command = AdjustStock(known_id(id), body.delta, body.reason, if_match(request))
        return await commands.run(request, command, body)

    return routes
