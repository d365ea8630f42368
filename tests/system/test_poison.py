"""Events that cannot be projected, in the log of a service that runs: their streams are parked, all others current."""

from collections.abc import Iterator

import httpx
import psycopg
import pytest

from eventlog.batch import NewEvent
from eventlog.codec import encode
from eventlog.events import Event, OrderItem, OrderPlaced, ProductRepriced, StockReserved, UserChanged, UserRegistered
from eventlog.ids import new_id
from projector.connecting import connect
from projector.parked import held_back
from projector.projections.shop import SHOP
from projector.replay import replay
from projector.verify import verify
from tests import loopback
from tests.builders import append_events, new_event, wait_until
from tests.served import Shop, problem
from tests.system.stack import Stack

SOON = 10


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("poison")) as stack:
        # The API looks every two seconds whether a worker listens, and may have looked before this one did.
        ready = f"{stack.urls[0]}/readyz"
        wait_until(lambda: loopback.get(ready).json()["status"] == "ok", SOON, "all is well")
        yield stack


@pytest.fixture
def shop(stack: Stack) -> Iterator[Shop]:
    with loopback.Client(base_url=stack.urls[0], timeout=10) as client:
        yield Shop(client, stack.database_url)


class Poison:
    """A price, and a user with an order, that come to the log as nobody can read them; and as they should have been."""

    def __init__(self, shop: Shop, how: str) -> None:
        self.product, self.cup = shop.product(stock=100), shop.product(stock=100)
        self.user_id, self.order_id = new_id(), new_id()
        cup = self.cup
        item = OrderItem(1, cup["id"], cup["sku"], cup["name"], 2, cup["price"], "5.00")
        reserved = StockReserved(self.order_id, 2, 98)
        self.meant: list[tuple[str, int, Event]] = [
            (f"product-{self.product['id']}", self.product["version"] + 1, ProductRepriced("3.00")),
            (
                f"user-{self.user_id}",
                1,
                UserRegistered("Ada", f"{self.user_id}@example.org", f"{self.user_id}@example.org", None),
            ),
            (f"order-{self.order_id}", 1, OrderPlaced(self.user_id, None, "EUR", "5.00", None, (item,))),
            (f"product-{cup['id']}", cup["version"] + 1, reserved),
            (f"user-{self.user_id}", 2, UserChanged(name="Ada L.")),
            (f"user-{self.user_id}", 3, UserChanged(name="Ada King")),
        ]
        events = [new_event(*event) for event in self.meant]
        append_events(shop.database_url, [self._spoilt(event, how) for event in events[:2]] + events[2:])

    def _spoilt(self, event: NewEvent, how: str) -> NewEvent:
        if how == "unknown type":
            return event._replace(type="Teleported")
        if how == "truncated":
            return event._replace(data=b"{}")
        return event._replace(data=b'{"price": {"amount"' + b": 3}, " + b'"name": 7}')

    def mend(self, database_url: str) -> None:
        """What no command can do, and what a release does that reads the events as they are."""
        with psycopg.connect(database_url) as connection:
            connection.execute("ALTER TABLE log.events DISABLE TRIGGER refuse_rewriting")
            for stream, version, event in self.meant[:2]:
                connection.execute(
                    "UPDATE log.events SET type = %s, data = %s WHERE stream = %s AND version = %s",
                    (type(event).__name__, encode(event).decode(), stream, version),
                )
            connection.execute("ALTER TABLE log.events ENABLE ALWAYS TRIGGER refuse_rewriting")

    @property
    def streams(self) -> set[str]:
        return {stream for stream, _, _ in self.meant[:3]}


def parked(stack: Stack) -> set[str]:
    with connect(stack.database_url) as connection:
        return {it.parked.stream for it in held_back(connection, SHOP)}


def equal(stack: Stack) -> bool:
    return not verify(stack.database_url, SHOP, lambda _: None).differences


def read(shop: Shop, path: str, token: str) -> httpx.Response:
    return shop.get(path, headers={"Sync-Token": token, "Prefer": f"wait={SOON}"})


@pytest.mark.parametrize(
    ("how", "fix"), [("unknown type", "retry"), ("truncated", "retry"), ("another shape", "restart")]
)
def test_poison_parks_its_streams_and_all_others_are_current(stack: Stack, shop: Shop, how: str, fix: str) -> None:
    before = shop.order()
    poison = Poison(shop, how)
    after = shop.order()
    token = str(shop.head())

    for order in (before, after):
        seen = read(shop, f"/orders/{order['id']}", token)
        assert (seen.status_code, seen.json()["total"]) == (200, "7.50")
        assert "projection-state" not in seen.headers
    stale = read(shop, f"/products/{poison.product['id']}", token)
    assert (stale.status_code, stale.json()["price"]) == (200, "2.50")
    assert stale.headers["projection-state"] == "parked"
    assert read(shop, f"/products/{poison.cup['id']}", token).json()["stock"] == 98
    for path in (f"/users/{poison.user_id}", f"/orders/{poison.order_id}"):
        missing = read(shop, path, token)
        assert (missing.status_code, missing.headers["projection-state"]) == (503, "parked")
    assert read(shop, "/orders", token).headers["projection-state"] == "parked"

    assert parked(stack) == poison.streams
    ready = shop.get("/readyz")
    assert (ready.status_code, ready.json()["degraded"]) == (
        200,
        {"projector": "parked: 3 streams of shop; see `orders parked`"},
    )
    assert shop.get("/projections").json()["data"][0]["parked"] == 3
    assert "3 streams are parked" in stack.run("status").stdout

    assert equal(stack)
    replay(stack.database_url, SHOP, lambda _: None)
    assert parked(stack) == poison.streams
    assert equal(stack)

    poison.mend(stack.database_url)
    if fix == "retry":
        assert stack.run("parked", "retry").returncode == 0
    else:
        stack.workers[0].stop()
        stack.workers[0].start()
    wait_until(lambda: not parked(stack), SOON, "nothing parked")
    assert read(shop, f"/products/{poison.product['id']}", token).json()["price"] == "3.00"
    assert read(shop, f"/users/{poison.user_id}", token).json()["name"] == "Ada King"
    assert read(shop, f"/orders/{poison.order_id}", token).json()["total"] == "5.00"
    assert "projection-state" not in read(shop, "/orders", token).headers
    assert equal(stack)


def test_a_stream_that_cannot_be_read_refuses_its_own_commands_and_no_others(stack: Stack, shop: Shop) -> None:
    buyer = shop.user()["id"]
    poison = Poison(shop, "unknown type")
    body = {"user_id": buyer, "items": [{"product_id": poison.product["id"], "quantity": 1}]}
    refused = shop.post("/orders", json=body)
    assert problem(refused) == (503, "unreadable-stream")
    body["items"] = [{"product_id": poison.cup["id"], "quantity": 1}]
    assert shop.post("/orders", json=body).status_code == 201
    poison.mend(stack.database_url)
    body["items"] = [{"product_id": poison.product["id"], "quantity": 1}]
    assert shop.post("/orders", json=body).json()["total"] == "3.00"
