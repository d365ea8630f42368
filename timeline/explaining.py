"""Which event set each field of a resource last."""

from typing import Any

from timeline.reading import Past
from timeline.resources import Field


def explanation(past: Past, name: str | None = None) -> list[dict[str, Any]]:
    """The fields as GET answers them: contract.resources.ExplainedView. Expects that the resource exists.

    With `name` only that field and those below it: `items` has all `items.<line>`. Empty when there is none.
    """
    return [_view(it) for it in past.fields() if name is None or it.name == name or it.name.startswith(f"{name}.")]


def _view(explained: Field) -> dict[str, Any]:
    event = explained.event
    return {
        "field": explained.name,
        "value": explained.value,
        "version": event.version,
        "position": event.position,
        "type": event.type,
        "occurred_at": event.occurred_at,
        "recorded_at": event.recorded_at,
        "actor": event.actor,
        "request_id": event.request_id,
    }
