"""The JSON that answers a command: the resource, made from the state that the command left.

contract/resources.py lists the members. A member has the value of the state's field of the same name, except for the
members that a function here computes.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from command.domain.order import Order
from command.domain.product import Product
from command.domain.user import User
from command.states import Entity, States
from command.submission import Answer
from contract.resources import OrderView, ProductView, UserView
from eventlog.codec import encode

State = TypeVar("State", Order, Product, User)

_USER, _PRODUCT, _ORDER = (tuple(model.model_fields) for model in (UserView, ProductView, OrderView))


def user_view(entity: Entity[User]) -> bytes:
    return _document(_USER, entity)


def product_view(entity: Entity[Product]) -> bytes:
    stock = entity.state.stock
    return _document(_PRODUCT, entity, in_stock=stock is None or stock > 0)


def order_view(entity: Entity[Order]) -> bytes:
    return _document(_ORDER, entity)


def user_answer(status: int, states: States, user_id: str) -> Answer:
    return _answer(status, f"/users/{user_id}", states.user(user_id), user_view)


def product_answer(status: int, states: States, product_id: str) -> Answer:
    return _answer(status, f"/products/{product_id}", states.product(product_id), product_view)


def order_answer(status: int, states: States, order_id: str) -> Answer:
    return _answer(status, f"/orders/{order_id}", states.order(order_id), order_view)


def _answer(status: int, location: str, entity: Entity[State] | None, view: Callable[[Entity[State]], bytes]) -> Answer:
    """The answer to a command that has changed this resource, or has found nothing to change."""
    assert entity is not None
    return Answer(status, entity.version, location, view(entity))


def _document(members: tuple[str, ...], entity: Entity[Any], **spelled_out: object) -> bytes:
    spelled_out["version"] = entity.version
    state = entity.state
    return encode({name: spelled_out[name] if name in spelled_out else getattr(state, name) for name in members})
