"""An order from a file: its customer and products by the file's own keys, its prices as they were agreed."""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from decimal import Decimal

from command.domain import order as rules
from command.domain import user
from command.domain.order import Order
from command.domain.placing import WantedLine
from command.domain.refusals import ExternalIdTaken, MixedCurrency, UnknownUser
from command.orders import PlaceOrder, ProductRef
from command.states import States
from command.submission import Outcome
from contract.names import split
from contract.times import rfc3339
from eventlog.events import OrderPlaced
from eventlog.events.record import Record

_NOBODY = user.stream("")


class Differs(ExternalIdTaken):
    """The number of an order, a cancellation or a return is there, and `members` are not the same."""

    members: tuple[str, ...]


class PlaceImportedOrder(Record, frozen=True):
    """PlaceOrder for a customer known by external_id. `currency`, if set, is the one that the prices were agreed in."""

    at: datetime
    order_id: str
    external_id: str
    customer: str
    currency: str | None
    products: tuple[ProductRef, ...]
    lines: tuple[WantedLine, ...]

    def reads(self, states: States) -> Iterable[str]:
        own = rules.external_id_claim(self.external_id)
        yield own
        if own in states and (holder := states.owner(own)):
            yield holder
            if holder in states and (there := states.entity(holder)):
                yield user.stream(there.state.user_id)
            return
        claim = user.external_id_claim(self.customer)
        yield claim
        # A row before this one in the same batch may register an unknown user; the products are needed anyway.
        owner = states.owner(claim) if claim in states else None
        yield from self._of(owner or _NOBODY).reads(states)

    def decide(self, states: States) -> Outcome:
        # First of all: an order that is there stays there, whatever has become of its customer since.
        if taken_by := states.owner(rules.external_id_claim(self.external_id)):
            there = states.entity(taken_by)
            if there and (members := tuple(self._differing(there.state, states))):
                raise Differs(self.external_id, taken_by, members)
            raise ExternalIdTaken(self.external_id, taken_by)
        owner = states.owner(user.external_id_claim(self.customer))
        if owner is None:
            raise UnknownUser(self.customer)
        outcome = self._of(owner).decide(states)
        placed = outcome.events[0][1]
        assert isinstance(placed, OrderPlaced)
        if self.currency is not None and self.currency != placed.currency:
            raise MixedCurrency(tuple(sorted({self.currency, placed.currency})))
        return outcome

    def _differing(self, there: Order, states: States) -> Iterator[str]:
        placed = Counter((it.sku, it.quantity, Decimal(it.unit_price)) for it in there.items)
        asked = zip(self.products, self.lines, strict=True)
        if placed != Counter((product.sku, line.quantity, line.agreed_unit_price) for product, line in asked):
            yield "lines"
        buyer = states.user(there.user_id)
        if buyer and buyer.state.external_id != self.customer:
            yield "customer"
        if there.placed_at != rfc3339(self.at):
            yield "at"
        if self.currency not in (None, there.currency):
            yield "currency"

    def _of(self, owner: str) -> PlaceOrder:
        return PlaceOrder(self.order_id, split(owner)[1], self.products, self.lines, self.external_id)
