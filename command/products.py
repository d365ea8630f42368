"""Commands about products: add, change, discontinue, adjust stock."""

from collections.abc import Iterable
from decimal import Decimal

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from command.api import Commands, route
from command.domain import product as rules
from command.domain.product import Product
from command.domain.refusals import Missing, SkuTaken
from command.fields import Body, Currency, Money, Name, RequiredText, Sku, Stock, StockDelta
from command.states import States
from command.submission import Outcome
from command.views import outcome
from contract.examples import ADD, shown
from contract.headers import if_match
from contract.names import known_id
from contract.requests import StrictRoute
from contract.resources import ProductView
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
        stream = rules.stream(self.product_id)
        return outcome(stream, events, 201, claimed={claim: stream})


class _OnProduct(Record, frozen=True):
    product_id: str

    @property
    def stream(self) -> str:
        return rules.stream(self.product_id)

    def reads(self, states: States) -> Iterable[str]:
        return [self.stream]

    def existing(self, states: States, expected_version: int | None) -> Product:
        """The product. Raises Missing and VersionMismatch."""
        entity = states.product(self.product_id)
        if entity is None:
            raise Missing(self.stream)
        entity.check_version(expected_version)
        return entity.state


class ChangeProduct(_OnProduct, frozen=True):
    name: str
    price: Decimal
    expected_version: int | None

    def decide(self, states: States) -> Outcome:
        product = self.existing(states, self.expected_version)
        return outcome(self.stream, rules.change(product, self.name, self.price), 200)


class DiscontinueProduct(_OnProduct, frozen=True):
    expected_version: int | None

    def decide(self, states: States) -> Outcome:
        entity = states.product(self.product_id)
        expected = None if entity is not None and entity.state.discontinued else self.expected_version
        return outcome(self.stream, rules.discontinue(self.existing(states, expected)), 204)


class AdjustStock(_OnProduct, frozen=True):
    delta: int
    reason: str
    expected_version: int | None

    def decide(self, states: States) -> Outcome:
        product = self.existing(states, self.expected_version)
        return outcome(self.stream, rules.adjust_stock(product, self.delta, self.reason), 200)


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
