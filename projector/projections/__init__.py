"""Events to rows: for each event type, the function that says what becomes of the read tables. No discovery."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from eventlog.events import (
    OrderCancelled,
    OrderLinesCancelled,
    OrderPlaced,
    ProductAdded,
    ProductChanged,
    ProductDiscontinued,
    ProductRepriced,
    StockAdjusted,
    StockReleased,
    StockReserved,
    UserChanged,
    UserDeleted,
    UserRegistered,
)
from projector.projections import orders, products, users
from projector.projections.envelope import Envelope
from projector.rows import Rows

Projection = Callable[[Any, Envelope, Rows], None]

PROJECTIONS: Mapping[type[Any], Projection] = {
    UserRegistered: users.registered,
    UserChanged: users.changed,
    UserDeleted: users.deleted,
    ProductAdded: products.added,
    ProductChanged: products.renamed,
    ProductRepriced: products.repriced,
    ProductDiscontinued: products.discontinued,
    StockAdjusted: products.stock_changed,
    StockReserved: products.stock_changed,
    StockReleased: products.stock_changed,
    OrderPlaced: orders.placed,
    OrderLinesCancelled: orders.lines_cancelled,
    OrderCancelled: orders.cancelled,
}

# The streams whose rows an event's own rows refer to, for each event type that makes such rows: those have to be there.
REFERENCES: Mapping[type[Any], Callable[[Any], Iterator[str]]] = {OrderPlaced: orders.references}
# The kinds of those streams.
REFERRED_TO = ("user", "product")
