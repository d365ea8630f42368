"""Cancellations that come as documents of their own: of a whole order, or of pieces that came from several orders."""

from collections import Counter
from collections.abc import Container, Iterable, Iterator
from decimal import Decimal
from typing import NamedTuple

from msgspec import field

from command.domain import cancelling, product
from command.domain import order as rules
from command.domain.order import Decided, Order
from command.domain.product import Product
from command.domain.refusals import ExternalIdTaken, Missing, Refused
from command.importing.placing import Differs
from command.placed_orders import known_products, products_of
from command.states import Entity, States
from command.submission import Answer, Outcome
from contract.names import split
from eventlog.events.record import Record

# The writer holds the log's head while it reads the orders of a return and decides it.
LINES_READ_MAX = 50_000


class AlreadyCancelled(Refused):
    """All of the order is cancelled already, by another document or over HTTP."""

    order: str


class NothingToReturn(Refused):
    """Line `line` of the document returns `asked` pieces of an order that has only `left` of them."""

    line: int
    sku: str
    order: str
    asked: int
    left: int


class ReturnTooLarge(Refused):
    """The orders that a return names have more than LINES_READ_MAX lines in all."""


class NotTheRest(Refused):
    """A cancellation of the whole order names `named` pieces of a SKU, of which `left` are left."""

    sku: str
    order: str
    named: int
    left: int


class Returned(NamedTuple):
    """Pieces of one SKU that came back of one order. `line` is the document's; lines at `unit_price` are preferred."""

    line: int
    sku: str
    order: str
    quantity: int
    unit_price: Decimal | None


class CancelImportedOrder(Record, frozen=True):
    """Cancels all that is left of the order with the external_id `target`.

    `named`: how many pieces of each SKU this is, by the document; empty when it does not say.
    """

    document: str
    target: str
    named: dict[str, int] = field(default_factory=dict)

    def reads(self, states: States) -> Iterable[str]:
        yield rules.cancellation_claim(self.document)
        yield from _reads_of(states, self.target)

    def decide(self, states: States) -> Outcome:
        claimed = _claim(states, self.document, self.target)
        entity = _order(states, self.target)
        if entity.state.status == "cancelled":
            raise AlreadyCancelled(self.target)
        self._check_named(entity.state)
        events = cancelling.cancel(entity.state, known_products(states, entity.state), None, None, self.document)
        return Outcome(events, lambda _: Answer(200), claimed)

    def _check_named(self, order: Order) -> None:
        if not self.named:
            return
        left = Counter[str]()
        for item in order.items:
            left[item.sku] += item.quantity_left
        for sku in self.named | +left:
            if self.named.get(sku, 0) != left[sku]:
                raise NotTheRest(sku, self.target, self.named.get(sku, 0), left[sku])


class ReturnItems(Record, frozen=True):
    """Cancels pieces of lines of the orders that they came from: all of them, or none."""

    document: str
    returned: tuple[Returned, ...]

    def reads(self, states: States) -> Iterable[str]:
        yield rules.cancellation_claim(self.document)
        lines = 0
        for order, returned in self._orders().items():
            yield from _reads_of(states, order, {it.sku for it in returned})
            lines += _lines_of(states, order)
            if lines > LINES_READ_MAX:
                return

    def decide(self, states: States) -> Outcome:
        claimed = _claim(states, self.document, self.returned[0].order)
        if sum(_lines_of(states, order) for order in self._orders()) > LINES_READ_MAX:
            raise ReturnTooLarge
        products: dict[str, Product] = {}
        events: Decided = []
        for external_id, returned in self._orders().items():
            order = _order(states, external_id).state
            quantities = _quantities(order, returned)
            # The pieces that an earlier order of this document returned are in stock when the next one returns more.
            products = known_products(states, order, {it.sku for it in returned}) | products
            cancelled = cancelling.cancel(order, products, quantities, None, self.document)
            events += cancelled
            _restock(products, cancelled)
        return Outcome(events, lambda _: Answer(200), claimed)

    def _orders(self) -> dict[str, list[Returned]]:
        """What comes back of each order, in the order they are named in."""
        orders: dict[str, list[Returned]] = {}
        for it in self.returned:
            orders.setdefault(it.order, []).append(it)
        return orders


def _quantities(order: Order, returned: Iterable[Returned]) -> dict[int, int]:
    """How many pieces each line of the order gives back. Raises NothingToReturn.

    A SKU may stand on several lines, at several prices. Lines of the returned price come first, and of these one that
    has enough left; else the pieces come from several.
    """
    taken: dict[int, int] = {}
    left = {item.line: item.quantity_left for item in order.items}
    prices = {item.line: Decimal(item.unit_price) for item in order.items}
    lines: dict[str, list[int]] = {}
    for item in order.items:
        lines.setdefault(item.sku, []).append(item.line)
    for it in returned:
        of_sku = [line for line in lines.get(it.sku, ()) if left[line]]
        there = sum([left[line] for line in of_sku])
        if there < it.quantity:
            raise NothingToReturn(it.line, it.sku, it.order, it.quantity, there)
        price, wanted = it.unit_price, it.quantity
        at_another = price is not None
        for line in sorted(of_sku, key=lambda line: (at_another and prices[line] != price, left[line] < it.quantity)):
            pieces = min(wanted, left[line])
            taken[line] = taken.get(line, 0) + pieces
            left[line] -= pieces
            wanted -= pieces
            if not wanted:
                break
    return taken


def _restock(products: dict[str, Product], cancelled: Decided) -> None:
    for stream, event in cancelled:
        kind, entity_id = split(stream)
        if kind == "product":
            before = products[entity_id]
            products[entity_id] = product.evolve(entity_id, before, event, before.updated_at)  # type: ignore[arg-type]


def _claim(states: States, document: str, order: str) -> dict[str, str]:
    """The document's claim, which makes it count only once.

    Raises ExternalIdTaken when it has counted, Differs when it has for another order, and Missing.
    """
    claim = rules.cancellation_claim(document)
    if owner := states.owner(claim):
        if owner != states.owner(rules.external_id_claim(order)):
            raise Differs(document, owner, ("the order that it cancels",))
        raise ExternalIdTaken(document, owner)
    return {claim: rules.stream(_order(states, order).state.id)}


def _reads_of(states: States, external_id: str, skus: Container[str] | None = None) -> Iterator[str]:
    claim = rules.external_id_claim(external_id)
    yield claim
    if claim in states and (owner := states.owner(claim)):
        yield owner
        yield from products_of(states, split(owner)[1], skus)


def _lines_of(states: States, external_id: str) -> int:
    """How many lines the order has; 0 if it is not known."""
    claim = rules.external_id_claim(external_id)
    owner = states.owner(claim) if claim in states else None
    entity = states.entity(owner) if owner and owner in states else None
    return len(entity.state.items) if entity else 0


def _order(states: States, external_id: str) -> Entity[Order]:
    owner = states.owner(rules.external_id_claim(external_id))
    entity = states.order(split(owner)[1]) if owner else None
    if entity is None:
        raise Missing(rules.stream(external_id))
    return entity
