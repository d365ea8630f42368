"""One step of a history: an event as a person reads it, with what it changed."""

from typing import Any, NamedTuple

from timeline import resources
from timeline.folding import Fold, PastEvent
from timeline.resources import Change


class Step(NamedTuple):
    """An event in words. `changes`: the fields whose values it changed."""

    event: PastEvent
    text: str
    changes: list[Change]

    def view(self) -> dict[str, Any]:
        """The step as GET answers it: contract.resources.StepView."""
        event = self.event
        return {
            "at": event.occurred_at,
            "version": event.version,
            "position": event.position,
            "type": event.type,
            "actor": event.actor,
            "text": self.text,
            "changes": [change._asdict() for change in self.changes],
        }


def step_of(fold: Fold, past: PastEvent) -> Step:
    """Fold one more event, and say what it did. Raises UnreadableEvent."""
    event = fold.apply(past)
    return Step(past, event.in_words(), resources.changes(fold.stream, fold))
