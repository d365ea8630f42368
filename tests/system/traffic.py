"""Mixed load from several clients at once, every word of it recorded: what a stack is under when its parts die."""

import random
import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

from tests.checker.history import Attempt, History, Outcome
from tests.checker.shopper import Shopper

# A client waits this long on average between two commands: the load is there to be caught in the act, not to be heavy.
PAUSE_SECONDS = 0.05
STOP_SECONDS_MAX = 90


class Traffic:
    """Clients that shop while the block runs. `urls` is where; a client that gets no answer asks again, or gives up.

    The same seed sends the same commands, as far as the answers are the same.
    """

    def __init__(self, urls: Sequence[str], history: History, seed: int, clients: int = 4) -> None:
        self.history = history
        self._urls = urls
        self._seed = seed
        self._users: list[str] = []
        self._products: list[str] = []
        self._orders: list[tuple[str, int]] = []
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]
        self._failures: list[BaseException] = []

    def __enter__(self) -> Self:
        """Fill the shop, then let the clients in."""
        with Shopper(self.history, self._urls[0]) as shopper:
            for number in range(3):
                self._register(shopper, f"first-{number}")
            # The hot one, which nearly every order has; one that runs out again and again; one without stock; others.
            for number, stock in enumerate((10**9, 20, None, 200, 200, 200)):
                self._add_product(shopper, f"first-{number}", stock)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let each client finish what it is at: the service must be up."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(STOP_SECONDS_MAX)
            assert not thread.is_alive(), "a client got no answer to the end"
        if self._failures and error is None:
            raise self._failures[0]

    def _run(self, number: int) -> None:
        chance = random.Random(f"{self._seed}-{number}")  # noqa: S311 - to be repeated, not to be secret
        actions: list[Callable[[Shopper, random.Random, str], None]]
        actions = [
            self._place,
            self._cancel,
            self._cancel_lines,
            self._adjust,
            self._change,
            self._newcomer,
            self._read,
        ]
        try:
            with Shopper(self.history, self._urls[number % len(self._urls)]) as shopper:
                count = 0
                while not self._stopping.wait(chance.uniform(0, 2 * PAUSE_SECONDS)):
                    count += 1
                    (action,) = chance.choices(actions, weights=(55, 8, 10, 8, 4, 3, 12))
                    action(shopper, chance, f"{number}-{count}")
        except BaseException as error:  # noqa: BLE001 - it belongs to the test, not to the thread
            self._failures.append(error)

    def _place(self, shopper: Shopper, chance: random.Random, name: str) -> None:
        products = [self._products[0], *chance.sample(self._products[1:], chance.randint(0, 2))]
        lines = [{"product_id": product, "quantity": chance.randint(1, 3)} for product in products]
        body: dict[str, Any] = {"user_id": chance.choice(self._users), "items": lines, "note": name}
        how = chance.random()
        if how < 0.6:
            attempt = shopper.persist("POST", "/orders", body, key=f"place-{name}", seconds=STOP_SECONDS_MAX / 2)
        elif how < 0.8:
            attempt = shopper.persist("POST", "/orders", body | {"external_id": f"x-{name}"})
        else:
            attempt = shopper.once("POST", "/orders", body)
        if attempt.outcome is Outcome.ACKNOWLEDGED:
            self._orders.append((attempt.body["id"], len(lines)))
            if chance.random() < 0.1:
                shopper.read(f"/orders/{attempt.body['id']}", attempt.position)

    def _cancel(self, shopper: Shopper, chance: random.Random, name: str) -> None:
        if self._orders:
            order, _ = chance.choice(self._orders)
            key = f"cancel-{name}" if chance.random() < 0.5 else None
            shopper.persist("POST", f"/orders/{order}/cancel", {"reason": name}, key)

    def _cancel_lines(self, shopper: Shopper, chance: random.Random, name: str) -> None:
        if self._orders:
            order, lines = chance.choice(self._orders)
            body = {"reason": name, "lines": [{"line": chance.randint(1, lines), "quantity": 1}]}
            shopper.persist("POST", f"/orders/{order}/cancel", body, key=f"cancel-lines-{name}")

    def _adjust(self, shopper: Shopper, chance: random.Random, name: str) -> None:
        product = chance.choice([self._products[1], *self._products[3:]])
        body = {"delta": chance.choice((-5, 20, 40)), "reason": name}
        shopper.persist("POST", f"/products/{product}/stock", body, key=f"adjust-{name}")

    def _change(self, shopper: Shopper, chance: random.Random, name: str) -> None:
        price = f"{chance.randint(1, 99)}.{chance.choice(('50', '125', '0001'))}"
        shopper.once("PUT", f"/products/{chance.choice(self._products)}", {"name": name, "price": price})

    def _newcomer(self, shopper: Shopper, chance: random.Random, name: str) -> None:
        if chance.random() < 0.8:
            self._register(shopper, name)
        else:
            self._add_product(shopper, name, 100)

    def _read(self, shopper: Shopper, chance: random.Random, name: str) -> None:
        if self._orders:
            shopper.read(f"/orders/{chance.choice(self._orders)[0]}")
        shopper.read(f"/products/{self._products[0]}")

    def _register(self, shopper: Shopper, name: str) -> None:
        body = {"name": name, "email": f"{name}@example.org", "external_id": name}
        self._made(self._users, shopper.persist("POST", "/users", body, key=f"register-{name}"))

    def _add_product(self, shopper: Shopper, name: str, stock: int | None) -> None:
        body = {"sku": name, "name": f"Product {name}", "price": "2.50", "currency": "EUR", "stock": stock}
        self._made(self._products, shopper.persist("POST", "/products", body, key=f"add-{name}"))

    @staticmethod
    def _made(known: list[str], attempt: Attempt) -> None:
        if attempt.outcome is Outcome.ACKNOWLEDGED:
            known.append(attempt.body["id"])

    def wait_for(self, commands: int, seconds: float = 30) -> None:
        """Until so many more commands have been acknowledged."""
        goal = self.history.acknowledged + commands
        deadline = time.monotonic() + seconds
        while self.history.acknowledged < goal:
            assert time.monotonic() < deadline, f"{commands} commands were not acknowledged within {seconds} s"
            time.sleep(0.02)
