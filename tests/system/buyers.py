"""Clients that place and cancel orders all the while, and write down what they were told."""

import random
import threading
from types import TracebackType
from typing import Any, Self

from tests.checker.history import History, Outcome
from tests.checker.shopper import Shopper

STOP_SECONDS_MAX = 60
STOCK = 1_000_000


class Buyers:
    """Threads that buy at the APIs `urls` from `with` to its end; what they did is in `history`.

    A command that the service did not take, or perhaps took, is sent again with its Idempotency-Key until its outcome
    is known. `pause` seconds between two commands of one client spare the machine.
    """

    def __init__(self, urls: list[str], seed: int, clients: int = 3, pause: float = 0.0) -> None:
        self.history = History(f"buyers-{seed}-")
        self._urls = urls
        self._seed = seed
        self._pause = pause
        self._stopping = threading.Event()
        self._failures: list[BaseException] = []
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(clients)]
        self.user = ""
        self.products: list[str] = []

    def __enter__(self) -> Self:
        with Shopper(self.history, self._urls[0]) as shopper:
            body: dict[str, Any] = {"name": "Ada", "email": f"ada-{self._seed}@example.org"}
            self.user = shopper.persist("POST", "/users", body, key=f"{self._seed}-user").body["id"]
            for number in range(5):
                sku = f"tea-{self._seed}-{number}"
                body = {"sku": sku, "name": "Tea", "price": "2.50", "currency": "EUR", "stock": STOCK}
                self.products.append(shopper.persist("POST", "/products", body, key=sku).body["id"])
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(STOP_SECONDS_MAX)
        assert not self._failures, self._failures

    @property
    def acknowledged(self) -> int:
        """How many commands were accepted so far."""
        return self.history.count(Outcome.ACKNOWLEDGED)

    def _run(self, number: int) -> None:
        try:
            with Shopper(self.history, self._urls[number % len(self._urls)]) as shopper:
                self._buy(shopper, number)
        except BaseException as error:  # noqa: BLE001 - told by the thread that waits
            self._failures.append(error)

    def _buy(self, shopper: Shopper, number: int) -> None:
        chance = random.Random(self._seed * 1_000 + number)  # noqa: S311 - no secret
        count = 0
        while not self._stopping.wait(self._pause):
            count += 1
            picked = chance.sample(self.products, chance.randint(1, 3))
            items = [{"product_id": product, "quantity": chance.randint(1, 3)} for product in picked]
            key = f"{self._seed}-{number}-{count}"
            placed = shopper.persist("POST", "/orders", {"user_id": self.user, "items": items}, key)
            if placed.outcome is Outcome.ACKNOWLEDGED and chance.random() < 0.3:
                lines = {"lines": [{"line": 1, "quantity": 1}]} if chance.random() < 0.5 else {}
                shopper.persist("POST", f"/orders/{placed.body['id']}/cancel", lines, f"{key}-cancel")
