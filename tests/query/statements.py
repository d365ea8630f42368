"""The statements that the read side can send, with values in place of the parameters."""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

from query import orders, products, users
from query.database import Reads, Statement
from query.listing import Listing, Shape
from query.lookup import Lookup
from query.sync import Sync
from query.views import order_view, product_view, user_view
from readmodel import shop as tables
from readmodel.shop import METADATA as SHOP

ID = "0197c1c2-7d8e-7000-8000-000000000001"


class Sent(NamedTuple):
    """A statement and where it comes from."""

    source: str
    shape: Shape | None
    statement: Statement

    def __str__(self) -> str:
        return f"{self.source} {self.shape}"

    def with_values(self, values: Mapping[str, object]) -> bytes:
        """The statement as SQL without parameters; a parameter that has no value is NULL."""

        def value(found: re.Match[str]) -> str:
            given = values.get(found[1])
            return "NULL" if given is None else f"'{given}'"

        return re.sub(r"%\((\w+)\)b", value, self.statement.text.decode()).replace("%%", "%").encode()


def lookups(reads: Reads) -> Iterator[Sent]:
    gone = tables.users.c.deleted_at.is_not(None)
    for name, lookup in (
        ("user", Lookup(reads, tables.users, user_view(tables.users), gone)),
        ("product", Lookup(reads, tables.products, product_view(tables.products))),
        ("order", Lookup(reads, tables.orders, order_view(tables.orders))),
    ):
        yield Sent(name, None, lookup._statement)


def listings(reads: Reads) -> Mapping[str, Listing]:
    sync = Sync.of_tables(reads, SHOP)
    of_orders = partial(
        Listing,
        reads,
        sync,
        tables.orders,
        order_view,
        sorts=orders.SORTS,
        filters=orders.FILTERS,
        weight=tables.orders.c.line_count,
    )
    return {
        "users": Listing(
            reads,
            sync,
            tables.users,
            user_view,
            sorts=users.SORTS,
            filters=users.FILTERS,
            visible=tables.users.c.deleted_at.is_(None),
        ),
        "products": Listing(reads, sync, tables.products, product_view, sorts=products.SORTS, filters=products.FILTERS),
        "orders": of_orders(),
        "a user's orders": of_orders(owner=(tables.users, "user_id")),
    }


def pages(name: str, listing: Listing) -> Iterator[Sent]:
    """A list's statements: with no filter and with each one, under each sort, first page and later ones."""
    for sort in listing._sorts:
        for filters in ((), *filters_of(listing)):
            for direction in ("", "-"):
                for continued in (False, True):
                    shape = Shape(filters, f"{direction}{sort}", continued)
                    yield Sent(name, shape, listing._statement(shape))


def filters_of(listing: Listing) -> Iterator[tuple[tuple[str, object], ...]]:
    for name, filter_ in listing._filters.items():
        values = filter_.condition if isinstance(filter_.condition, Mapping) else [None]
        yield from (((name, value),) for value in values)


def every_statement(reads: Reads, lists: Mapping[str, Listing]) -> list[Sent]:
    return [*lookups(reads), *(sent for name, listing in lists.items() for sent in pages(name, listing))]
