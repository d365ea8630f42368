"""The shape of a state follows from its fields."""

from dataclasses import make_dataclass
from typing import Any, Literal

import pytest

from command.domain.order import Item, Order
from command.domain.product import Product
from command.domain.user import User
from command.shapes import shape_of_class


def a_class(**fields: Any) -> type[Any]:
    return make_dataclass("State", fields.items())


NESTED = a_class(line=int, amount=str)
BASE: dict[str, Any] = {
    "id": str,
    "note": str | None,
    "status": Literal["placed", "cancelled"],
    "items": tuple[NESTED, ...],
}

CHANGES: dict[str, dict[str, Any]] = {
    "a field more": BASE | {"gift": bool},
    "a field less": {name: it for name, it in BASE.items() if name != "note"},
    "another name": {("remark" if name == "note" else name): it for name, it in BASE.items()},
    "another type": BASE | {"id": int},
    "no longer optional": BASE | {"note": str},
    "a value more": BASE | {"status": Literal["placed", "cancelled", "shipped"]},
    "another container": BASE | {"items": list[NESTED]},
    "a field more in a nested class": BASE | {"items": tuple[a_class(line=int, amount=str, sku=str), ...]},
    "another type in a nested class": BASE | {"items": tuple[a_class(line=int, amount=int), ...]},
}


@pytest.mark.parametrize("fields", CHANGES.values(), ids=CHANGES.keys())
def test_another_field_or_type_is_another_shape(fields: dict[str, Any]) -> None:
    assert shape_of_class(a_class(**fields)) != shape_of_class(a_class(**BASE))


def test_equal_fields_are_the_same_shape_in_any_order() -> None:
    assert shape_of_class(a_class(**BASE)) == shape_of_class(a_class(**dict(reversed(BASE.items()))))


def test_another_meaning_of_the_same_fields_is_another_shape() -> None:
    assert shape_of_class(Product, meaning=2) != shape_of_class(Product)


def test_each_state_has_a_shape_of_its_own_that_fits_a_bigint() -> None:
    shapes = {shape_of_class(state) for state in (User, Product, Order, Item)}
    assert len(shapes) == 4
    assert all(0 < shape < 2**63 for shape in shapes)
