"""A caller's walk with the Python client that openapi-generator makes. `python walk.py <api>` prints each step."""

import datetime as dt
import sys
import uuid

import orders_by_generator as client
from orders_by_generator import exceptions, models


def walk(api: str) -> None:
    configuration = client.Configuration(host=api, access_token="none")
    with client.ApiClient(configuration) as connection:
        users, products = client.UsersApi(connection), client.ProductsApi(connection)
        orders, events = client.OrdersApi(connection), client.EventsApi(connection)

        user = users.register_user(models.RegisterUserBody(name="Ada", email=f"{uuid.uuid4()}@example.org"))
        assert (user.name, user.external_id, user.version) == ("Ada", None, 1)
        print("registers a user")

        sku = f"tea-{uuid.uuid4()}"
        tea = models.AddProductBody(sku=sku, name="Tea", price=models.Price("7.20"), currency="EUR", stock=10)
        product = products.add_product(tea)
        assert (product.price, product.stock, product.in_stock) == ("7.20", 10, True)
        many = models.AddProductBody(
            sku=f"pin-{uuid.uuid4()}", name="Pin", price=models.Price("0.01"), currency="EUR", stock=5_000_000_000
        )
        assert products.add_product(many).stock == 5_000_000_000
        print("adds a product")

        items = [models.ItemBody(sku=sku, quantity=2), models.ItemBody(product_id=product.id, quantity=1)]
        body = models.PlaceOrderBody(user_id=user.id, items=items)
        placed = orders.place_order_with_http_info(body, idempotency_key=str(uuid.uuid4()))
        order = placed.data
        assert (placed.status_code, order.total, len(order.items)) == (201, "21.60", 2)
        print("places an order with a key")

        token = int(placed.headers["sync-token"])
        assert orders.get_order(order.id, sync_token=token) == order
        print("reads the order that it has just placed")

        skus, cursor = [], None
        while True:
            page = products.list_products(limit=1, sort="-sku", cursor=cursor)
            skus += [it.sku for it in page.data]
            cursor = page.next
            if cursor is None:
                break
        assert len(skus) >= 2
        assert skus == sorted(skus, reverse=True)
        print("pages through a list")

        later = order.placed_at + dt.timedelta(seconds=1)
        found = [
            orders.list_orders(user_id=user.id, placed_at_gt=later),
            orders.list_orders(user_id=user.id, placed_at_gte=order.placed_at, status=["placed", "cancelled"]),
            orders.list_orders(user_id=user.id, placed_at_lt=order.placed_at, total_gte="0.01"),
        ]
        assert [len(page.data) for page in found] == [0, 1, 0]
        print("filters by time")

        be_refused_and_cancel(orders, events, product, order)


def be_refused_and_cancel(
    orders: client.OrdersApi, events: client.EventsApi, product: models.ProductView, order: models.OrderView
) -> None:
    too_much = models.PlaceOrderBody(user_id=order.user_id, items=[models.ItemBody(sku=product.sku, quantity=9)])
    try:
        orders.place_order(too_much)
    except exceptions.ConflictException as refused:
        problem = refused.data
        assert isinstance(problem, models.ProblemView)
        assert (problem.status, problem.code, problem.lines[0].available) == (409, "insufficient-stock", 7)
        print("meets a typed refusal that names the lines")

    lines = [models.CancelledLineBody(line=2, quantity=1)]
    cancelled = orders.cancel_order(order.id, cancel_order_body=models.CancelOrderBody(lines=lines))
    assert (cancelled.status, [it.cancelled_quantity for it in cancelled.items]) == ("partially_cancelled", [0, 1])
    assert orders.cancel_order(order.id).status == "cancelled"
    print("cancels one line, then the rest")

    told = [it.actual_instance for it in events.list_events_of_order(order.id).data]
    kinds = [models.OrderPlacedEvent, models.OrderLinesCancelledEvent, models.OrderCancelledEvent]
    assert [type(it) for it in told] == kinds
    assert (told[0].data.total, told[2].data.cancelled_total_after) == ("21.60", "21.60")
    print("reads events by their types")


if __name__ == "__main__":
    walk(sys.argv[1])
