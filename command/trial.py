"""Trying a command (`?dry_run=true`): it is decided as always, appends nothing, and answers what it would do."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from command.domain.product import Product
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
        stock: list[dict[str, object]] = []
        before = {stream: _product(states, stream) for stream, _ in outcome.events}
        with states.kept(before):
            for stream, event in outcome.events:
                version = states.evolve(stream, event, self.at).version
                data = msgspec.Raw(encode(event))
                events.append({"stream": stream, "version": version, "type": type(event).__name__, "data": data})
            for stream, was in before.items():
                now, had = _product(states, stream), was.stock if was else None
                if now is not None and now.stock != had:
                    stock.append({"product_id": now.id, "sku": now.sku, "before": had, "after": now.stock})
            answered = outcome.answer(states)
        would = {
            "status": answered.status,
            "events": events,
            "resource": msgspec.Raw(answered.body or b"null"),
            "stock": stock,
        }
        return Outcome([], lambda _: Answer(200, body=encode(would)))


def _product(states: States, stream: str) -> Product | None:
    """The product whose stream it is; None for other streams, and for a product that the command adds."""
    kind, product_id = split(stream)
    entity = states.product(product_id) if kind == "product" and stream in states else None
    return entity.state if entity else None
