"""The list of projections, and of the routes that read their tables. A new one is registered here and nowhere else."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from projector.projection import Projection
from projector.projections.activity import ACTIVITY
from projector.projections.sales import SALES
from projector.projections.shop import SHOP
from service.errors import MISUSE, OperatorError

if TYPE_CHECKING:
    from fastapi import APIRouter

    from query.database import Reads
    from query.waiting import WaitingReads
    from timeline.routes import PastAnswers

PROJECTIONS = (SHOP, SALES, ACTIVITY)

# Tags of the routes below in the OpenAPI document, beside those of users, products and orders.
TAGS = [{"name": "sales", "description": "Sales and cancellations by day and product."}]


def named(names: Sequence[str] | None) -> list[Projection]:
    """The projections of these names; all of them without a name. Raises OperatorError."""
    known = {it.name: it for it in PROJECTIONS}
    for name in names or ():
        if name not in known:
            raise OperatorError(f"there is no projection {name!r}; there are: {', '.join(known)}", exit_code=MISUSE)
    return [known[name] for name in dict.fromkeys(names or known)]


def routers(reads: "Reads", waiting: "WaitingReads", past: "PastAnswers") -> "Iterator[APIRouter]":
    """The routes that answer from read tables; the most frequent come first. `past` answers what only the log knows."""
    # Imported here: the worker and the command line need no routes.
    from query import orders, products, sales, users
    from query.sync import Sync

    shop = Sync.of_tables(reads, SHOP.metadata, waiting)
    yield orders.router(reads, shop, past.answer)
    yield products.router(reads, shop, past.answer)
    yield users.router(reads, shop, past.answer)
    yield sales.router(reads, Sync.of_tables(reads, SALES.metadata, waiting))
