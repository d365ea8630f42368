"""An order from a file: its customer and products by the file's own keys, its prices as they were agreed."""

from collections.abc import Iterable

from command.domain import order as rules
from command.domain import user
from command.domain.placing import WantedLine
from command.domain.refusals import ExternalIdTaken, MixedCurrency, UnknownUser
from command.orders import PlaceOrder, ProductRef
from command.states import States
from command.submission import Outcome
from contract.names import split
from eventlog.events import OrderPlaced
from eventlog.events.record import Record

_NOBODY = user.stream("")


class PlaceImportedOrder(Record, frozen=True):
    """PlaceOrder for a customer known by external_id. `currency`, if set, is the one that the prices were agreed in."""

    order_id: str
    external_id: str
    customer: str
    currency: str | None
    products: tuple[ProductRef, ...]
    lines: tuple[WantedLine, ...]

    def reads(self, states: States) -> Iterable[str]:
        claim = user.external_id_claim(self.customer)
        yield claim
        # A row before this one in the same batch may register an unknown user; the products are needed anyway.
        owner = states.owner(claim) if claim in states else None
        yield from self._of(owner or _NOBODY).reads(states)

    def decide(self, states: States) -> Outcome:
        # First of all: an order that is there stays there, whatever has become of its customer since.
        if taken_by := states.owner(rules.external_id_claim(self.external_id)):
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

    def _of(self, owner: str) -> PlaceOrder:
        return PlaceOrder(self.order_id, split(owner)[1], self.products, self.lines, self.external_id)
