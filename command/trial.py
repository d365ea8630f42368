"""Trying a command (`?dry_run=true`): it is decided as always, appends nothing, and answers what it would do."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from command.states import States
from command.submission import Answer, Command, Outcome
from contract.names import split
from eventlog.codec import encode


@dataclass(frozen=True, slots=True)
class Trial:
    """`command`, as if it came at the time `at` (RFC 3339). Raises what the command raises."""

    command: Command
    at: str

    def reads(self, states: States) -> Iterable[str]:
        return self.command.reads(states)

    def decide(self, states: States) -> Outcome:
        outcome = self.command.decide(states)
        events: list[dict[str, object]] = []
        stock: dict[str, dict[str, object]] = {}
        with states.kept({stream for stream, _ in outcome.events}):
            for stream, event in outcome.events:
                before = _stock(states, stream)
                version = states.evolve(stream, event, self.at).version
                data = msgspec.Raw(encode(event))
                events.append({"stream": stream, "version": version, "type": type(event).__name__, "data": data})
                if before != (after := _stock(states, stream)):
                    first = stock.get(stream, {"before": before})
                    product_id = split(stream)[1]
                    product = states.product(product_id)
                    assert product is not None
                    sku = product.state.sku
                    stock[stream] = {"product_id": product_id, "sku": sku, "before": first["before"], "after": after}
            answered = outcome.answer(states)
        would = {
            "status": answered.status,
            "events": events,
            "resource": msgspec.Raw(answered.body or b"null"),
            "stock": list(stock.values()),
        }
        return Outcome([], lambda _: Answer(200, body=encode(would)))


def _stock(states: States, stream: str) -> int | None:
    """The stock of the product whose stream it is; None for other streams, and where no stock is kept."""
    kind, product_id = split(stream)
    if kind != "product" or stream not in states:
        return None
    product = states.product(product_id)
    return product.state.stock if product else None
