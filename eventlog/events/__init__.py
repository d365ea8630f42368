"""Every event there is. Class and field names are the storage format: they are never renamed (see docs/events.md).

Ids are UUID text, money is canonical decimal text, and fields hold nothing but JSON's own types, so an event reads from
the log, through a projection and into a table without being taken apart. `PERSONAL` names the fields that tell of a
person, and `ABOUT` the field that says of whom (absent: the stream is that user's own).
"""

from typing import get_args

from eventlog.events.operator import OperatorActed
from eventlog.events.order import CancelledLine, OrderCancelled, OrderItem, OrderLinesCancelled, OrderPlaced
from eventlog.events.product import (
    ProductAdded,
    ProductChanged,
    ProductDiscontinued,
    ProductRepriced,
    StockAdjusted,
    StockReleased,
    StockReserved,
)
from eventlog.events.user import UserChanged, UserDeleted, UserRegistered

UserEvent = UserRegistered | UserChanged | UserDeleted
ProductEvent = (
    ProductAdded
    | ProductChanged
    | ProductRepriced
    | ProductDiscontinued
    | StockAdjusted
    | StockReserved
    | StockReleased
)
OrderEvent = OrderPlaced | OrderLinesCancelled | OrderCancelled
Event = UserEvent | ProductEvent | OrderEvent | OperatorActed

# Types that are about the service itself: no projection makes rows of them.
NOT_PROJECTED: frozenset[type[Event]] = frozenset({OperatorActed})

# Each type with the schema version that is written today. A changed shape gets the next (`| {OrderPlaced: 2}`) and
# an upcasting function in eventlog/upcasting.py; the golden file keeps the bytes of every version ever written.
SCHEMA_VERSIONS: dict[type[Event], int] = dict.fromkeys(get_args(Event), 1)

__all__ = [
    "NOT_PROJECTED",
    "SCHEMA_VERSIONS",
    "CancelledLine",
    "Event",
    "OperatorActed",
    "OrderCancelled",
    "OrderEvent",
    "OrderItem",
    "OrderLinesCancelled",
    "OrderPlaced",
    "ProductAdded",
    "ProductChanged",
    "ProductDiscontinued",
    "ProductEvent",
    "ProductRepriced",
    "StockAdjusted",
    "StockReleased",
    "StockReserved",
    "UserChanged",
    "UserDeleted",
    "UserEvent",
    "UserRegistered",
]
