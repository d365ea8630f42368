"""The JSON that answers a command: the resource, made from the state that the command left.

contract/resources.py lists the members. A member has the value of the state's field of the same name, except for the
members that a function here computes.
"""

from typing import Any

from command.states import Entity, States
from command.submission import Answer
from contract.resources import OrderView, ProductView, UserView
from eventlog.codec import encode

_USER, _PRODUCT, _ORDER = (tuple(model.model_fields) for model in (UserView, ProductView, OrderView))


def user_answer(status: int, states: States, user_id: str) -> Answer:
    return _answer(status, f"/users/{user_id}", states.user(user_id), _USER)


def product_answer(status: int, states: States, product_id: str) -> Answer:
    entity = states.product(product_id)
    stock = entity.state.stock if entity else None
    return _answer(status, f"/products/{product_id}", entity, _PRODUCT, in_stock=stock is None or stock > 0)


def order_answer(status: int, states: States, order_id: str) -> Answer:
    return _answer(status, f"/orders/{order_id}", states.order(order_id), _ORDER)


def _answer(
    status: int, location: str, entity: Entity[Any] | None, members: tuple[str, ...], **spelled_out: object
) -> Answer:
    """The answer to a command that has changed this resource, or has found nothing to change."""
    assert entity is not None
    spelled_out["version"] = entity.version
    state = entity.state
    document = {name: spelled_out[name] if name in spelled_out else getattr(state, name) for name in members}
    return Answer(status, entity.version, location, encode(document))
