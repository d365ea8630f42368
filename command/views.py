"""The JSON that answers a command: the resource, made from the state that the command left.

contract/resources.py lists the members. A member has the value of the state's field of the same name, except for the
members that a function here computes.
"""

from typing import Any

from command.domain.product import Product
from command.domain.user import User
from command.states import Entity, States
from command.submission import Answered
from contract.resources import OrderView, ProductView, UserView
from eventlog.codec import encode

_USER, _PRODUCT, _ORDER = (tuple(model.model_fields) for model in (UserView, ProductView, OrderView))


def user_view(entity: Entity[User]) -> bytes:
    return _document(_USER, entity)


def product_view(entity: Entity[Product]) -> bytes:
    stock = entity.state.stock
    return _document(_PRODUCT, entity, in_stock=stock is None or stock > 0)


def order_answer(status: int, states: States, order_id: str) -> Answered:
    """The answer to a command that has changed this order, or has found nothing left to change."""
    entity = states.order(order_id)
    assert entity is not None
    return Answered(status, entity.version, f"/orders/{order_id}", _document(_ORDER, entity))


def _document(members: tuple[str, ...], entity: Entity[Any], **spelled_out: object) -> bytes:
    spelled_out["version"] = entity.version
    state = entity.state
    return encode({name: spelled_out[name] if name in spelled_out else getattr(state, name) for name in members})
