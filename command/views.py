"""The answer to a command: the resource as JSON, made from the state that the command left.

contract/resources.py lists the members. Each has the value of the state's attribute of the same name.
"""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from command.states import Entity, States
from command.submission import Answer, Outcome
from contract.names import path_of, split
from contract.resources import OrderView, ProductView, UserView
from eventlog.codec import encode
from eventlog.events import Event

_MEMBERS = {
    kind: tuple(view.model_fields)
    for kind, view in (("user", UserView), ("product", ProductView), ("order", OrderView))
}


def resource(status: int, stream: str) -> Callable[[States], Answer]:
    """An answer that shows the resource of this stream; a 204 shows nothing."""

    def answer(states: States) -> Answer:
        if status == 204:
            return Answer(status)
        entity = states.entity(stream)
        assert entity is not None
        return Answer(status, entity.version, path_of(stream), document(split(stream)[0], entity))

    return answer


def document(kind: str, entity: Entity[Any]) -> bytes:
    """A resource of this kind as JSON."""
    members = {name: entity.version if name == "version" else getattr(entity.state, name) for name in _MEMBERS[kind]}
    return encode(members)


def outcome(
    stream: str,
    events: Iterable[Event],
    status: int,
    claimed: Mapping[str, str] = MappingProxyType({}),
    released: Iterable[str] = (),
) -> Outcome:
    """The outcome of a command on one resource: events of its stream, and an answer that shows it."""
    return Outcome([(stream, event) for event in events], resource(status, stream), claimed, released)
