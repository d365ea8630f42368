"""Resources as the write side sees them, as JSON: what a command is answered with. Shapes: contract/resources.py."""

from command.domain.order import Order
from command.domain.product import Product
from command.domain.user import User
from command.states import Entity
from eventlog.codec import encode


def user_view(entity: Entity[User]) -> bytes:
    user = entity.state
    return encode(
        {
            "id": user.id,
            "external_id": user.external_id,
            "name": user.name,
            "email": user.email,
            "version": entity.version,
            "created_at": user.created_at,
            "updated_at": user.updated_at,
        }
    )


def product_view(entity: Entity[Product]) -> bytes:
    product = entity.state
    return encode(
        {
            "id": product.id,
            "sku": product.sku,
            "name": product.name,
            "price": product.price,
            "currency": product.currency,
            "stock": product.stock,
            "in_stock": product.stock is None or product.stock > 0,
            "discontinued": product.discontinued,
            "version": entity.version,
            "created_at": product.created_at,
            "updated_at": product.updated_at,
        }
    )


def order_view(entity: Entity[Order]) -> bytes:
    order = entity.state
    return encode(
        {
            "id": order.id,
            "external_id": order.external_id,
            "user_id": order.user_id,
            "status": order.status,
            "currency": order.currency,
            "total": order.total,
            "cancelled_total": order.cancelled_total,
            "items": order.items,
            "note": order.note,
            "cancel_reason": order.cancel_reason,
            "placed_at": order.placed_at,
            "cancelled_at": order.cancelled_at,
            "version": entity.version,
            "updated_at": order.updated_at,
        }
    )
