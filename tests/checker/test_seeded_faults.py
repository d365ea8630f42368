"""The checker counts only because it catches: each fault is put into a real process of the service, and has to be seen.

The same shopping that leaves a healthy service without a finding brings each of them to light.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from projector.connecting import connect
from projector.loop import Loop
from projector.projections.shop import SHOP
from tests.builders import wait_until
from tests.checker.check import assert_nothing_wrong, findings
from tests.checker.history import History, Outcome
from tests.checker.shopper import Shopper
from tests.sabotage import faults
from tests.sabotage.imports import environment
from tests.served import NO_REDIS, served
from tests.system.stack import START_SECONDS_MAX, ServiceProcess, Stack, answers, free_port

WRITING = {
    "stock_is_not_looked_at": "leaves a negative stock",
    "money_is_binary": "has the amount 0.30000000000000004 in line 1 instead of 0.30",
    "stock_does_not_come_back": "StockReleased tells of 0",
    "a_cancellation_forgets_the_one_before": "than was ordered",
    "keys_are_forgotten": "doubled: place-order-",
    "claims_are_not_unique": "order:shop-1 belongs to",
    "decisions_use_old_states": "are left, its stream adds up to",
    "positions_come_from_a_sequence": "a hole in the log",
}
PROJECTING = {
    "an_event_is_passed_over": "has status placed, the log says",
    "events_are_projected_again": "has version",
    "stock_is_not_projected": "has stock",
    "the_checkpoint_moves_before_the_rows": "has no row",
}


def go_shopping(here: Shopper, elsewhere: Shopper) -> None:
    """A little of everything, at one API and, in between, at another."""
    user = here.once("POST", "/users", {"name": "Ada", "email": "ada@example.org", "external_id": "ada"}).body["id"]
    tea = here.once(
        "POST", "/products", {"sku": "tea", "name": "Tea", "price": "0.10", "currency": "EUR", "stock": 9}
    ).body["id"]

    def order(shopper: Shopper, quantity: int, key: str | None = None, external_id: str | None = None) -> str | None:
        lines = [{"product_id": tea, "quantity": quantity}]
        body = {"user_id": user, "items": lines} | ({"external_id": external_id} if external_id else {})
        attempt = shopper.once("POST", "/orders", body, key)
        return attempt.location if attempt.outcome is Outcome.ACKNOWLEDGED else None

    first = order(here, 3, key="k1")
    here.send(here.history.commands["place-order-3"])
    order(here, 7)
    order(here, 1, external_id="shop-1")
    order(here, 1, external_id="shop-1")
    if first:
        for lines in ([{"line": 1, "quantity": 2}], [{"line": 1, "quantity": 2}], None):
            here.once("POST", f"{first}/cancel", {"reason": "too many"} | ({"lines": lines} if lines else {}))
    second = order(here, 2)
    if second:
        here.once("POST", f"{second}/cancel", {"lines": [{"line": 1, "quantity": 1}]})
    for _ in range(3):
        elsewhere.once("POST", f"/products/{tea}/stock", {"delta": 10, "reason": "delivered"})
        order(here, 1)
    order(here, 1)


@contextmanager
def api(directory: Path, database_url: str, fault: str) -> Iterator[tuple[ServiceProcess, str]]:
    """An API process with a fault, and its URL."""
    port = free_port()
    process = ServiceProcess("api", ["serve", "--port", str(port)], having(fault, database_url, NO_REDIS), directory)
    process.start()
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(f"{url}/healthz"), START_SECONDS_MAX, f"an answer, see {process.log_path}")
        yield process, url
    finally:
        process.kill()


def having(fault: str, database_url: str, redis_url: str) -> dict[str, str]:
    """The environment of a process with a fault."""
    urls = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    # The server that the tests share forgets what it is told, and is meant to.
    return urls | environment(**{faults.VARIABLE: fault, "ALLOW_UNSAFE_DATABASE": "1"})


def shopped(database_url: str, url: str | None = None) -> History:
    """The shopping, at the API at `url` and a healthy one, or at the healthy one alone."""
    history = History()
    with served(database_url) as shop:
        healthy = str(shop.http.base_url)
        with Shopper(history, url or healthy) as here, Shopper(history, healthy) as elsewhere:
            go_shopping(here, elsewhere)
    return history


def seen(fault: str, expected: str, found: list[str]) -> None:
    assert any(expected in finding for finding in found), f"{fault} was not seen: {found}"


def test_without_a_fault_nothing_is_found(database_url: str) -> None:
    history = shopped(database_url)
    with connect(database_url) as connection:
        Loop(SHOP).project(connection, 1_000)
    assert_nothing_wrong(database_url, history)


@pytest.mark.parametrize(("fault", "expected"), WRITING.items(), ids=list(WRITING))
def test_a_fault_of_the_write_side_is_seen(fault: str, expected: str, database_url: str, tmp_path: Path) -> None:
    with api(tmp_path, database_url, fault) as (_, url):
        history = shopped(database_url, url)
    seen(fault, expected, findings(database_url, history))


@pytest.mark.parametrize(("fault", "expected"), PROJECTING.items(), ids=list(PROJECTING))
def test_a_fault_of_the_projector_is_seen(
    fault: str, expected: str, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    history = shopped(database_url)
    worker = ServiceProcess("worker", ["work"], having(fault, database_url, redis_url), tmp_path)
    worker.start()
    try:
        with connect(database_url) as connection:
            wait_until(
                lambda: Loop(SHOP).look(connection).lag == 0, START_SECONDS_MAX, f"projected, see {worker.log_path}"
            )
    finally:
        worker.kill()
    seen(fault, expected, findings(database_url, history))


def test_an_answer_before_the_commit_is_seen(database_url: str, tmp_path: Path) -> None:
    history = History()
    with api(tmp_path, database_url, "answers_come_before_the_commit") as (process, url):
        with Shopper(history, url) as shopper:
            assert shopper.once("POST", "/users", {"name": "Ada", "email": "ada@example.org"}).status == 201
        process.kill()
    seen("answer before commit", "lost: register-user-1", findings(database_url, history))


def test_a_commit_that_did_not_wait_for_the_disk_is_seen(tmp_path: Path) -> None:
    history = History()
    fault = environment(**{faults.VARIABLE: "a_commit_does_not_wait_for_the_disk"})
    with Stack(tmp_path, workers=0, settings={"wal_writer_delay": "10s"}, environment=fault) as stack:
        with Shopper(history, stack.urls[0]) as shopper:
            for number in range(20):
                shopper.once("POST", "/users", {"name": "Ada", "email": f"ada{number}@example.org"})
        assert history.acknowledged == 20
        stack.crash(stack.postgres)
        stack.postgres.start()
        found = findings(stack.database_url, history)
    seen("a commit that did not wait", "lost: register-user-20", found)
