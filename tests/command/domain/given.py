"""Given-when-then for the rules: what has happened, what is asked, and what follows or why it is refused."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from command.domain import cancelling, order, placing, product, user
from command.domain.order import Order
from command.domain.placing import WantedLine
from command.domain.product import Product
from command.domain.refusals import Refused
from command.domain.user import User
from eventlog.events import Event, ProductAdded, StockAdjusted, UserDeleted, UserRegistered

AT = "2026-01-01T09:00:00.000000Z"
LATER = "2026-01-02T09:00:00.000000Z"

Happened = list[tuple[str, Event]]


class Shop:
    """What has happened so far, folded into states. Ids are words: `ada`, `tea`, `o1`."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.products: dict[str, Product] = {}
        self.orders: dict[str, Order] = {}

    def apply(self, happened: Happened, at: str = LATER) -> None:
        folds: dict[str, tuple[dict[str, Any], Callable[..., Any]]] = {
            "user": (self.users, user.evolve),
            "product": (self.products, product.evolve),
            "order": (self.orders, order.evolve),
        }
        for stream, event in happened:
            kind, _, name = stream.partition("-")
            states, evolve = folds[kind]
            states[name] = evolve(name, states.get(name), event, at)


# A decision about a shop. What has happened may be given as one: as its outcome.
Decision = Callable[[Shop], Happened]


class Asked:
    """A decision to check."""

    def __init__(self, shop: Shop, decide: Decision) -> None:
        self._shop = shop
        self._decide = decide

    def then(self, *expected: tuple[str, Event]) -> Shop:
        """These events and no others, in this order. Returns the shop after them."""
        happened = self._decide(self._shop)
        assert happened == list(expected)
        self._shop.apply(happened)
        return self._shop

    def then_nothing(self) -> None:
        """Neither an event nor a refusal."""
        self.then()

    def then_refused(self, refusal: Refused) -> None:
        """This refusal, with these facts."""
        with pytest.raises(type(refusal)) as caught:
            self._decide(self._shop)
        assert caught.value == refusal


class given:  # noqa: N801 - it reads as a word
    """A shop in which this has happened."""

    def __init__(self, *history: Happened | Decision) -> None:
        self.shop = Shop()
        for happened in history:
            self.shop.apply(happened if isinstance(happened, list) else happened(self.shop), AT)

    def when(self, decide: Decision) -> Asked:
        return Asked(self.shop, decide)


def a_user(name: str = "ada", email: str | None = None) -> Happened:
    email = email or f"{name}@example.org"
    return [(f"user-{name}", UserRegistered(name.capitalize(), email, email.lower(), None))]


def a_deleted_user(name: str = "ada") -> Happened:
    return [*a_user(name), (f"user-{name}", UserDeleted())]


def a_product(name: str, stock: int | None = 10, price: str = "2.50", currency: str = "EUR") -> Happened:
    """A product called `Tea` with the SKU `TEA`."""
    added = ProductAdded(name.upper(), name.capitalize(), price, currency, stock is not None)
    events: Happened = [(f"product-{name}", added)]
    if stock:
        events.append((f"product-{name}", StockAdjusted(stock, "initial stock", stock)))
    return events


def place(*lines: tuple[str, int] | tuple[str, int, str], by: str = "ada", number: str = "o1") -> Decision:
    """An order of (product, quantity) or (product, quantity, expected unit price)."""
    wanted = [WantedLine(it[1], Decimal(it[2]) if len(it) == 3 else None) for it in lines]

    def decide(shop: Shop) -> Happened:
        products = [shop.products.get(it[0]) for it in lines]
        return placing.place(number, by, shop.users.get(by), wanted, products)

    return decide


def cancel(quantities: dict[int, int] | None = None, reason: str | None = None, number: str = "o1") -> Decision:
    """The order's cancellation, or that of `quantities` of its lines."""
    return lambda shop: cancelling.cancel(shop.orders[number], shop.products, quantities, reason)
