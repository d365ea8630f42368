"""A caller's walk through the shop with the generated Python client; tests/clients/walk.ts takes the same steps.

`python walk.py <api> <refusing> <cutting>` prints each step that went well. `refusing` and `cutting` are proxies in
front of the API (tests/clients/faulty_proxy.py). It runs outside the tests' environment, and mypy checks it.
"""

import asyncio
import datetime as dt
import sys
import uuid

import httpx
from orders_client import NoProblemDocument, OrdersTransport, Refused, connect, expect
from orders_client.generated import AuthenticatedClient
from orders_client.generated.api.events import list_events_of_order
from orders_client.generated.api.operations import get_readiness
from orders_client.generated.api.orders import cancel_order, get_order, list_orders, place_order
from orders_client.generated.api.products import add_product, change_product, list_products
from orders_client.generated.api.users import get_user, register_user
from orders_client.generated.models import (
    AddProductBody,
    CancelledLineBody,
    CancelOrderBody,
    ChangeProductBody,
    EventPage,
    ItemBody,
    OrderCancelledEvent,
    OrderLinesCancelledEvent,
    OrderPage,
    OrderPlacedEvent,
    OrderView,
    PlaceOrderBody,
    ProblemLine,
    ProblemView,
    ProductPage,
    ProductView,
    RegisterUserBody,
    UserView,
)
from orders_client.generated.types import UNSET

KEY = "none"  # the service under test asks for no key


def problem_of(parsed: object) -> ProblemView:
    try:
        expect(object, parsed)
    except Refused as refused:
        return refused.problem
    raise AssertionError(parsed)


def step(sentence: str) -> None:
    print(sentence, flush=True)


def walk(api: str) -> None:
    transport = OrdersTransport()
    with connect(api, KEY, transport=transport) as client:
        user, product = begin(client)
        order = order_something(client, transport, user, product)
        look_around(client, user, order)
        be_refused(client, user, product)
        cancel_a_line(client, order)
        read_events(client, order)


def begin(client: AuthenticatedClient) -> tuple[UserView, ProductView]:
    body = RegisterUserBody(name="Ada", email=f"{uuid.uuid4()}@example.org")
    user = expect(UserView, register_user.sync(client=client, body=body))
    assert (user.name, user.external_id, user.version) == ("Ada", None, 1)
    step("registers a user")

    tea = AddProductBody(sku=f"tea-{uuid.uuid4()}", name="Tea", price="7.20", currency="EUR", stock=10)
    product = expect(ProductView, add_product.sync(client=client, body=tea))
    assert (product.price, product.stock, product.in_stock) == ("7.20", 10, True)
    unstocked = AddProductBody(sku=f"pdf-{uuid.uuid4()}", name="PDF", price="1", currency="EUR")
    assert expect(ProductView, add_product.sync(client=client, body=unstocked)).stock == 0
    step("adds a product")
    return user, product


def order_something(
    client: AuthenticatedClient, transport: OrdersTransport, user: UserView, product: ProductView
) -> OrderView:
    items = [ItemBody(sku=product.sku, quantity=2), ItemBody(product_id=product.id, quantity=1)]
    body = PlaceOrderBody(user_id=user.id, items=items, note="ring twice")
    key = str(uuid.uuid4())
    placed = place_order.sync_detailed(client=client, body=body, idempotency_key=key)
    order = expect(OrderView, placed.parsed)
    assert (placed.status_code, order.total, len(order.items), order.note) == (201, "21.60", 2, "ring twice")
    assert placed.headers["Location"] == f"/orders/{order.id}"
    assert transport.sync_token == int(placed.headers["Sync-Token"])
    step("places an order with a key")

    repeated = place_order.sync_detailed(client=client, body=body, idempotency_key=key)
    assert repeated.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in placed.headers
    assert expect(OrderView, repeated.parsed) == order
    step("gets the first answer when it repeats the order")

    # At once: the transport carries the Sync-Token of the order.
    read = get_order.sync_detailed(order.id, client=client)
    assert expect(OrderView, read.parsed) == order
    assert int(read.headers["Sync-Token"]) >= int(placed.headers["Sync-Token"])
    unchanged = get_order.sync_detailed(order.id, client=client, if_none_match=read.headers["ETag"])
    assert (unchanged.status_code, unchanged.parsed) == (304, None)
    step("reads the order that it has just placed")
    return order


def look_around(client: AuthenticatedClient, user: UserView, order: OrderView) -> None:
    skus = []
    cursor, pages = "", 0
    while True:
        found = list_products.sync(client=client, limit=1, sort="-sku", cursor=cursor or UNSET)
        page = expect(ProductPage, found)
        skus += [product.sku for product in page.data]
        pages += 1
        if page.next_ is None:
            break
        cursor = page.next_
    assert (pages, skus) == (len(skus), sorted(skus, reverse=True))
    assert pages >= 2
    step("pages through a list")

    second = dt.timedelta(seconds=1)
    later = list_orders.sync(client=client, user_id=user.id, placed_atgt=order.placed_at + second)
    since = list_orders.sync(client=client, user_id=user.id, placed_atgte=order.placed_at, status=["placed"])
    until = list_orders.sync(client=client, user_id=user.id, placed_atlt=order.placed_at, totalgte="0.01")
    assert [len(expect(OrderPage, found).data) for found in (later, since, until)] == [0, 1, 0]
    step("filters by time")


def be_refused(client: AuthenticatedClient, user: UserView, product: ProductView) -> None:
    body = PlaceOrderBody(user_id=user.id, items=[ItemBody(sku=product.sku, quantity=9)])
    refused = place_order.sync_detailed(client=client, body=body)
    problem = problem_of(refused.parsed)
    assert (problem.status, problem.code, problem.retryable) == (409, "insufficient-stock", False)
    assert problem.lines
    (line,) = problem.lines
    assert (line.line, line.sku, line.requested, line.available) == (1, product.sku, 9, 7)
    assert not problem.errors
    step("meets a typed refusal that names the lines")


def misspell(line: ProblemLine) -> None:
    """Never called. If mypy did not notice, it would report the comment as unused."""
    line.availible  # type: ignore[attr-defined] # noqa: B018


def cancel_a_line(client: AuthenticatedClient, order: OrderView) -> None:
    body = CancelOrderBody(lines=[CancelledLineBody(line=2, quantity=1)], reason="one too many")
    cancelled = expect(OrderView, cancel_order.sync(order.id, client=client, body=body, if_match=f'"{order.version}"'))
    assert (cancelled.status, cancelled.cancelled_total) == ("partially_cancelled", "7.20")
    assert [item.cancelled_quantity for item in cancelled.items] == [0, 1]
    stale = cancel_order.sync(order.id, client=client, body=body, if_match=f'"{order.version}"')
    assert problem_of(stale).code == "version-mismatch"
    rest = expect(OrderView, cancel_order.sync(order.id, client=client))
    assert (rest.status, rest.cancelled_at is not None) == ("cancelled", True)
    step("cancels one line, then the rest")


def read_events(client: AuthenticatedClient, order: OrderView) -> None:
    page = expect(EventPage, list_events_of_order.sync(order.id, client=client))
    told = []
    for event in page.data:
        if isinstance(event, OrderPlacedEvent):
            told.append(f"{event.data.total} placed, {len(event.data.items)} lines")
        elif isinstance(event, OrderLinesCancelledEvent | OrderCancelledEvent):
            told.append(f"{event.data.amount} cancelled, {event.data.cancelled_total_after} in all")
    assert told == ["21.60 placed, 2 lines", "7.20 cancelled, 7.20 in all", "14.40 cancelled, 21.60 in all"]
    step("reads events by their types")


def retry(refusing: str, cutting: str) -> None:
    # The names tell the requests apart in the proxies' logs.
    body = RegisterUserBody(name="refused", email=f"{uuid.uuid4()}@example.org")
    with connect(refusing, KEY) as client:
        expect(UserView, register_user.sync(client=client, body=body))
    step("comes back as late as Retry-After asks")

    transport = OrdersTransport()
    with connect(cutting, KEY, transport=transport) as client:
        body = RegisterUserBody(name="cut", email=f"{uuid.uuid4()}@example.org")
        registered = register_user.sync_detailed(client=client, body=body)
        user = expect(UserView, registered.parsed)
        assert registered.headers["Idempotency-Replayed"] == "true"
        step("repeats a command with one key when the answer is lost")

        assert expect(UserView, get_user.sync(user.id, client=client)) == user
        step("carries the Sync-Token of a command to a read, and repeats the read")

        tea = AddProductBody(sku=f"tea-{uuid.uuid4()}", name="Tea", price=1, currency="EUR")
        product = expect(ProductView, add_product.sync(client=client, body=tea))
        dearer = ChangeProductBody(name="Tea", price="2")
        try:
            change_product.sync(product.id, client=client, body=dearer, if_match=f'"{product.version}"')
        except httpx.TransportError:
            step("does not repeat a change with If-Match when the answer is lost")


def give_up(api: str, refusing: str) -> None:
    impatient = OrdersTransport(sync_token=10**9, tries_max=2)
    with connect(api, KEY, transport=impatient) as client:
        behind = problem_of(list_orders.sync(client=client, prefer="wait=0"))
    assert (behind.code, behind.retryable) == ("projection-behind", True)
    with connect(refusing, KEY, transport=OrdersTransport(seconds_max=0.5)) as client:
        body = RegisterUserBody(name="given up", email=f"{uuid.uuid4()}@example.org")
        assert problem_of(register_user.sync(client=client, body=body)).code == "overloaded"
    step("returns the problem when it has no more tries or time")

    with connect(f"{refusing}/broken", KEY, transport=OrdersTransport(tries_max=1)) as client:
        try:
            get_readiness.sync(client=client)
        except NoProblemDocument:
            step("raises when a proxy answers with an error of its own")


async def concurrently(refusing: str) -> None:
    async with connect(refusing, KEY) as client:
        body = RegisterUserBody(name="async", email=f"{uuid.uuid4()}@example.org")
        expect(UserView, await register_user.asyncio(client=client, body=body))
    step("does the same in async functions")


if __name__ == "__main__":
    walk(sys.argv[1])
    retry(*sys.argv[2:])
    give_up(sys.argv[1], sys.argv[2])
    asyncio.run(concurrently(sys.argv[2]))
