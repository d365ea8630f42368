"""Any sequence of requests is answered as the contract says, whatever becomes of the worker and the read tables."""

import contextlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import psycopg
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from psycopg import sql

from projector.connecting import connect
from tests.chance import chosen_seed
from tests.conftest import url_of
from tests.openapi import COMMANDS, TEXTS
from tests.properties.customer import Customer
from tests.properties.model import Json
from tests.served import served

# A replay or verify takes as long as many requests: so many events are to lie between two.
PROVED_EVENTS = 10
UNKNOWN = "01890a5d-ac96-774b-bcce-b302099a8057"
# Small pools, so that names meet: some differ only by case, some only by a blank.
names = st.sampled_from(["Tea", "tea", "Tea ", "Zoë ☕", "Añejo"])
emails = st.sampled_from(
    [f"{name}@example.org" for name in ("ada", "ADA", "zoë", "ZOË", "bob", "cleo", "dan", "eve", "finn", "gil")]
)
keys = st.sampled_from(["a", "A", "a ", "ß", "b", "B", "d", "e", "f", "g", "h", "i"])
external_ids = st.none() | keys
prices = st.sampled_from(["0", "2.5", "2.500", "0.125", "0.0001", "49.99", "999999999999.9999", 3])
quantities = st.sampled_from([1, 1, 1, 2, 2, 3, 5, 1_000_000])
stocks = st.sampled_from([None, 0, 1, 3, 10, 10**12])
deltas = st.sampled_from([1, 5, -1, -4, 10**12])
texts = st.none() | st.sampled_from(["for Zoë\n", ""])
reasons = st.none() | st.sampled_from(["late", "no\tmore"])
currencies = st.sampled_from(["EUR", "EUR", "EUR", "USD"])
# A resource by its number, in the order in which they were made; None: one that does not exist.
number = st.sampled_from([*range(12), None])
# How far If-Match is from the version that the resource has; None: not sent.
staleness = st.sampled_from([None, None, None, None, 0, 0, -1, 1])
keyed = st.booleans()
bounds = st.sampled_from(["gte", "gt", "lte", "lt"])
flags = st.sampled_from(["true", "false"])
limits = st.integers(1, 4)


class Line(NamedTuple):
    """A line of an order. `price_expected`: whether expected_unit_price is the product's; None: not sent."""

    product: int | None
    quantity: int
    by_sku: bool
    price_expected: bool | None


line = st.builds(Line, number, quantities, st.booleans(), st.sampled_from([None, None, None, True, True, False]))


def asked(method: str, /, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, dict[str, Any]]]:
    """A method of Requests, and what it is called with."""
    return st.tuples(st.just(method), st.fixed_dictionaries(arguments))


buying = asked(
    "buy",
    user=st.integers(0, 5),
    pieces=st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3)), min_size=1, max_size=4),
    with_key=keyed,
)
placing = asked(
    "place",
    user=number,
    lines=st.lists(line, min_size=1, max_size=5),
    external_id=external_ids,
    note=texts,
    with_key=keyed,
)
cancelling = asked(
    "cancel_lines",
    order=number,
    lines=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 2)), min_size=1, max_size=3),
    reason=reasons,
    stale=staleness,
    with_key=keyed,
)
# In one rule, not in one each: Hypothesis leaves most rules out of most examples, and an order has a long history.
STEPS = [
    asked("register", name=names, email=emails, external_id=external_ids, with_key=keyed),
    asked("come_back", which=st.integers(0, 5), with_key=keyed),
    asked("change_user", user=number, name=names, email=emails, stale=staleness),
    asked("add", sku=keys, name=names, price=prices, stock=stocks, currency=currencies, with_key=keyed),
    asked("change_product", product=number, name=names, price=prices, stale=staleness),
    asked("delete", kind=st.sampled_from(["users", "products"]), which=number, stale=staleness),
    asked("adjust_stock", product=number, delta=deltas, stale=staleness, with_key=keyed),
    buying,
    buying,
    placing,
    placing,
    cancelling,
    cancelling,
    asked("cancel", order=number, reason=reasons, stale=staleness, with_key=keyed),
    asked("repeat", which=st.integers(0, 99), token=st.sampled_from(["", "", "", "Bearer refreshed"])),
    asked("use_a_key_again", which=st.integers(0, 99)),
    asked(
        "list_users", email=st.none() | emails, external_id=external_ids, sort=st.sampled_from(["", "-"]), limit=limits
    ),
    asked(
        "list_products",
        sku=st.none() | keys,
        in_stock=st.none() | flags,
        discontinued=st.none() | flags,
        price=st.none() | st.tuples(bounds, st.sampled_from(["2.5", "0.125", "3"])),
        sort=st.sampled_from(["sku", "-sku", "name", "-name", "price", "-price"]),
        limit=limits,
    ),
    asked(
        "list_orders",
        user=st.none() | number,
        of_user=st.booleans(),
        product=st.none() | number,
        status=st.none() | st.sampled_from(["placed", "partially_cancelled", "cancelled"]),
        external_id=external_ids,
        total=st.none() | st.tuples(bounds, st.sampled_from(["0", "2.50", "7.5", "10"])),
        sort=st.sampled_from(["placed_at", "-placed_at", "total", "-total"]),
        limit=limits,
    ),
    asked("worker", stops=st.booleans(), events=st.none() | st.integers(1, 5)),
    asked("rebuild", verify=st.booleans()),
]

# The step that sends each command.
SENT_BY = {
    ("POST", "/users"): "register",
    ("PUT", "/users/{id}"): "change_user",
    ("DELETE", "/users/{id}"): "delete",
    ("POST", "/products"): "add",
    ("PUT", "/products/{id}"): "change_product",
    ("DELETE", "/products/{id}"): "delete",
    ("POST", "/products/{id}/stock"): "adjust_stock",
    ("POST", "/orders"): "place",
    ("POST", "/orders/{id}/cancel"): "cancel",
}


class Requests(RuleBasedStateMachine):
    """One client of the real API, with a worker that can stop, beside the model. A resource is the n-th of its kind."""

    database_url: str

    def __init__(self) -> None:
        super().__init__()
        self.open = contextlib.ExitStack()
        url = self.open.enter_context(copied(self.database_url))
        shop = self.open.enter_context(served(url))
        self.customer = Customer(shop, self.open.enter_context(connect(url)))
        self.send = self.customer.send
        self.failed = False

    def teardown(self) -> None:
        with self.open:
            # After a failure, all else would fail too, and hide it.
            if not self.failed:
                self.customer.check_everything()

    def path(self, kind: str, number: int | None) -> str:
        """Of the resource with this number, e.g. /users/<id>; one that does not exist if it is None."""
        made = self.customer.made[kind]
        return f"/{kind}/{UNKNOWN if number is None or not made else made[number % len(made)]}"

    def id(self, kind: str, number: int | None) -> str:
        return self.path(kind, number).rpartition("/")[2]

    # Commands

    @initialize(stock=stocks)
    def opening(self, stock: int | None) -> None:
        for name in ("ada", "bob"):
            body: Json = {"name": name, "email": f"{name}@example.org", "external_id": name}
            self.send("POST", "/users", body)
        for sku, price, pieces in (("a", "2.50", 50), ("b", "0.125", 3), ("c", 3, stock)):
            body = {"sku": sku, "name": "Tea", "price": price, "currency": "EUR", "stock": pieces}
            self.send("POST", "/products", body)
        self.place(0, [Line(0, 3, False, None), Line(1, 1, True, True), Line(0, 1, False, None)], None, None, True)

    @rule(step=st.sampled_from(STEPS).flatmap(lambda it: it))
    def do(self, step: tuple[str, dict[str, Any]]) -> None:
        name, arguments = step
        self.failed = True
        getattr(self, name)(**arguments)
        self.failed = False

    def register(self, name: str, email: str, external_id: str | None, with_key: bool) -> None:
        body = {"name": name, "email": email, "external_id": external_id}
        self.send("POST", "/users", body, with_key=with_key)

    def come_back(self, which: int, with_key: bool) -> None:
        """A deleted user registers again: the address and the external_id are free."""
        gone = list(self.customer.model.deleted.values())
        if gone:
            user = gone[which % len(gone)]
            self.send("POST", "/users", {it: user[it] for it in ("name", "email", "external_id")}, with_key=with_key)

    def change_user(self, user: int | None, name: str, email: str, stale: int | None) -> None:
        self.send("PUT", self.path("users", user), {"name": name, "email": email}, stale=stale)

    def add(self, sku: str, name: str, price: object, stock: int | None, currency: str, with_key: bool) -> None:
        body = {"sku": sku, "name": name, "price": price, "currency": currency, "stock": stock}
        self.send("POST", "/products", body, with_key=with_key)

    def change_product(self, product: int | None, name: str, price: object, stale: int | None) -> None:
        self.send("PUT", self.path("products", product), {"name": name, "price": price}, stale=stale)

    def delete(self, kind: str, which: int | None, stale: int | None) -> None:
        self.send("DELETE", self.path(kind, which), stale=stale)

    def adjust_stock(self, product: int | None, delta: int, stale: int | None, with_key: bool) -> None:
        body = {"delta": delta, "reason": "counted"}
        self.send("POST", f"{self.path('products', product)}/stock", body, with_key=with_key, stale=stale)

    def buy(self, user: int, pieces: list[tuple[int, int]], with_key: bool) -> None:
        """An order that will do, if there is enough."""
        users = list(self.customer.model.users)
        products = [id_ for id_, product in self.customer.model.products.items() if not product["discontinued"]]
        if users and products:
            items = [{"product_id": products[it % len(products)], "quantity": quantity} for it, quantity in pieces]
            self.send("POST", "/orders", {"user_id": users[user % len(users)], "items": items}, with_key=with_key)

    def place(
        self, user: int | None, lines: list[Line], external_id: str | None, note: str | None, with_key: bool
    ) -> None:
        """Any order."""
        body: Json = {"user_id": self.id("users", user), "items": [self.item(line) for line in lines]}
        body |= {name: value for name, value in (("external_id", external_id), ("note", note)) if value is not None}
        self.send("POST", "/orders", body, with_key=with_key)

    def cancel(self, order: int | None, reason: str | None, stale: int | None, with_key: bool) -> None:
        body = None if reason is None else {"reason": reason}
        self.send("POST", f"{self.path('orders', order)}/cancel", body, with_key=with_key, stale=stale)

    def cancel_lines(
        self, order: int | None, lines: list[tuple[int, int]], reason: str | None, stale: int | None, with_key: bool
    ) -> None:
        known = self.customer.model.orders.get(self.id("orders", order))
        count = len(known["items"]) if known else 1
        # The last one is a line that the order does not have.
        numbered = [(count + 1 if line == 6 else 1 + line % count, quantity) for line, quantity in lines]
        body: Json = {"lines": [{"line": line, "quantity": quantity} for line, quantity in numbered], "reason": reason}
        self.send("POST", f"{self.path('orders', order)}/cancel", body, with_key=with_key, stale=stale)

    def repeat(self, which: int, token: str) -> None:
        """The same request again, with its Idempotency-Key if it had one, with the same token or a refreshed one."""
        request, key = self.customer.sent[which % len(self.customer.sent)]
        self.send(*request, key=key, token=token)

    def use_a_key_again(self, which: int) -> None:
        """The same key for another request."""
        (method, path, body), key = self.customer.sent[which % len(self.customer.sent)]
        other = TEXTS[re.sub("/[^/]{36}", "/{id}", path)] if method == "POST" else "reason"
        self.send(method, path, {**(body or {}), other: "another"}, key=key)

    def item(self, line: Line) -> Json:
        """A line of an order, as it is sent."""
        id_ = self.id("products", line.product)
        known = self.customer.model.products.get(id_)
        item: Json = {"quantity": line.quantity}
        item |= {"sku": known["sku"] if known else "nobody has this"} if line.by_sku else {"product_id": id_}
        if line.price_expected is not None:
            item["expected_unit_price"] = known["price"] if known and line.price_expected else "7.77"
        return item

    # Reads

    def list_users(self, email: str | None, external_id: str | None, sort: str, limit: int) -> None:
        self.customer.check_list("/users", f"{sort}created_at", {"email": email, "external_id": external_id}, limit)

    def list_products(
        self,
        sku: str | None,
        in_stock: str | None,
        discontinued: str | None,
        price: tuple[str, str] | None,
        sort: str,
        limit: int,
    ) -> None:
        filters = {"sku": sku, "in_stock": in_stock, "discontinued": discontinued}
        self.customer.check_list("/products", sort, filters | ranged("price", price), limit)

    def list_orders(
        self,
        user: int | None,
        of_user: bool,
        product: int | None,
        status: str | None,
        external_id: str | None,
        total: tuple[str, str] | None,
        sort: str,
        limit: int,
    ) -> None:
        filters = {"status": status, "external_id": external_id} | ranged("total", total)
        if product is not None:
            filters["product_id"] = self.id("products", product)
        path = "/orders"
        if user is not None and of_user:
            path = f"{self.path('users', user)}/orders"
        elif user is not None:
            filters["user_id"] = self.id("users", user)
        self.customer.check_list(path, sort, filters, limit)

    # The worker, and the read tables

    def worker(self, stops: bool, events: int | None) -> None:
        if stops:
            self.customer.stop_worker()
        else:
            self.customer.start_worker(events)

    def rebuild(self, verify: bool) -> None:
        if self.customer.unproved < PROVED_EVENTS:
            return
        if verify:
            self.customer.verify()
        else:
            self.customer.replay()


def ranged(name: str, compared: tuple[str, str] | None) -> dict[str, str | None]:
    """The filter of a range, e.g. {"price[gt]": "3"}."""
    return {} if compared is None else {f"{name}[{compared[0]}]": compared[1]}


@contextlib.contextmanager
def copied(database_url: str) -> Iterator[str]:
    """Another database like this one."""
    with psycopg.connect(database_url, dbname="postgres", autocommit=True) as connection:
        template = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
        name = f"{template}_copy"
        create = sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY")
        connection.execute(create.format(sql.Identifier(name), sql.Identifier(str(template))))
        try:
            yield url_of(database_url, name)
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def test_a_step_sends_each_command_of_the_document() -> None:
    assert sorted(SENT_BY) == COMMANDS, "write a step, with its line in STEPS and SENT_BY"
    assert all(hasattr(Requests, step) for step in SENT_BY.values())


def test_requests_are_answered_as_the_contract_says(database_url: str, is_long: bool) -> None:
    """In the short form always the same sequences; in the long one others each time. A failing one is printed."""

    class Here(Requests):
        pass

    Here.database_url = database_url
    if is_long:
        seed(chosen_seed())(Here)
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=300 if is_long else 12,
            stateful_step_count=60 if is_long else 40,
            derandomize=not is_long,
            database=None,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
