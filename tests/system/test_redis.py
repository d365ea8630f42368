"""Redis carries news and no data: empty, gone, or slow, it costs no command anything, and reads little.

Commands and reads go on all the while. A read asks for what was last written and waits for it at most two seconds, as
it does by default.
"""

import shutil
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
import redis

from tests.builders import wait_until
from tests.checker.check import assert_nothing_wrong
from tests.checker.history import History, Outcome
from tests.checker.shopper import Shopper
from tests.system.delay import Delay
from tests.system.stack import START_SECONDS_MAX, Stack, answers, free_port

EVERY_SECONDS = 0.05
USUAL_SECONDS = 1.5
SLOWED_BY_SECONDS_MAX = 0.05
# Woken by the bell, the tables have a change long before the worker's own look at the log, once a second, would see it.
WOKEN_SECONDS_MAX = 0.3
WOKEN_IN_A_ROW = 5
# Longer than a worker looks again without being woken, so that each change needs a ring of its own.
QUIET_SECONDS = 0.5
RECOVERY_SECONDS_MAX = 30
# How late a slow Redis answers: less than the service waits for it, and more.
LATE_SECONDS = (0.1, 0.4, 0.8)
IDLE_SECONDS = 3
IDLE_COMMANDS_MAX, IDLE_TRANSACTIONS_MAX = 25, 30
# The line of an earlier outage may have been logged within the minute.
MINUTE_SECONDS = 75
FULL_SECONDS = 3
LINES_MAX = 3


class Shop:
    """One client that writes and one that reads what was written, at the API at `url` of the stack."""

    def __init__(self, stack: Stack, history: History, url: str) -> None:
        self._stack = stack
        self._history = history
        self._url = url
        number = len(history.commands)
        with Shopper(history, url) as shopper:
            user = shopper.once("POST", "/users", {"name": "Ada", "email": f"{number}@example.org"}).body["id"]
            product = {"sku": f"redis-{number}", "name": "Tea", "price": "2.50", "currency": "EUR", "stock": 10**6}
            added = shopper.once("POST", "/products", product)
        self._product: str = added.body["id"]
        self._token = added.position
        self._order = {"user_id": user, "items": [{"product_id": self._product, "quantity": 1}]}

    def _command(self, stopping: threading.Event) -> list[float]:
        """How long each command takes. Fails if one is refused."""
        taken = []
        with Shopper(self._history, self._url) as shopper:
            while not stopping.wait(EVERY_SECONDS):
                attempt = shopper.once("POST", "/orders", self._order)
                assert attempt.outcome is Outcome.ACKNOWLEDGED, attempt
                self._token = attempt.position
                taken.append(attempt.ended_at - attempt.sent_at)
        return taken

    def _read(self, stopping: threading.Event) -> None:
        """Read what was last written. Fails if the tables were too late with it."""
        with Shopper(self._history, self._url) as shopper:
            while not stopping.wait(EVERY_SECONDS):
                answer = shopper.read(f"/products/{self._product}", self._token)
                assert answer is not None
                assert answer.status_code == 200, answer.text

    def _wait_until_woken(self) -> None:
        """Until the bell wakes the worker again, time after time."""
        in_a_row = 0

        def is_woken() -> bool:
            nonlocal in_a_row
            time.sleep(QUIET_SECONDS)
            with Shopper(self._history, self._url) as shopper:
                token = shopper.once("POST", "/orders", self._order).position
                started = time.monotonic()
                shopper.read(f"/products/{self._product}", token)
            in_a_row = in_a_row + 1 if time.monotonic() - started < WOKEN_SECONDS_MAX else 0
            return in_a_row == WOKEN_IN_A_ROW

        wait_until(is_woken, RECOVERY_SECONDS_MAX, "woken by the bell")

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Command and read before and during the block, which is the trouble; compare; and see the worker recover."""
        with self._clients() as usual:
            time.sleep(USUAL_SECONDS)
        # Only now: a worker writes its name into the checkpoint a moment after it has started.
        (worker,) = self._stack.rows("SELECT worker FROM shop.checkpoint")
        assert worker != (None,)
        with self._clients() as troubled:
            yield
        # Nineteen in twenty: what a busy machine does to a command now and then is not Redis's doing. A command that
        # did wait for Redis would not be alone.
        usually, in_trouble = (_slow(taken) for taken in (usual, troubled))
        print(f"{usually * 1000:.1f} ms, in trouble {in_trouble * 1000:.1f} ms, at most {max(troubled) * 1000:.1f} ms")
        assert in_trouble < usually + SLOWED_BY_SECONDS_MAX
        self._wait_until_woken()
        assert self._stack.rows("SELECT worker FROM shop.checkpoint") == [worker], "the worker was restarted"
        self._stack.wait_until_caught_up()

    @contextmanager
    def _clients(self) -> Iterator[list[float]]:
        """The clients, while the block runs; afterwards the list has the seconds of each command."""
        stopping = threading.Event()
        seconds: list[float] = []
        with ThreadPoolExecutor(2) as threads:
            commanding, reading = threads.submit(self._command, stopping), threads.submit(self._read, stopping)
            try:
                yield seconds
            finally:
                stopping.set()
            seconds += commanding.result()
            reading.result()


def _slow(seconds: list[float]) -> float:
    """What nineteen in twenty take at most."""
    return statistics.quantiles(seconds, n=20, method="inclusive")[-1]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture(scope="module")
def history() -> History:
    """The log is one, so its record is too."""
    return History()


@pytest.fixture
def shop(stack: Stack, history: History) -> Iterator[Shop]:
    yield Shop(stack, history, stack.urls[0])
    assert_nothing_wrong(stack.database_url, history)


def test_an_emptied_redis_is_not_missed(stack: Stack, shop: Shop) -> None:
    with redis.Redis.from_url(stack.redis_url) as client, shop.going_on():
        for _ in range(20):
            client.flushall()
            time.sleep(0.1)


def test_a_redis_that_is_down_is_not_missed(stack: Stack, shop: Shop, is_long: bool) -> None:
    with shop.going_on():
        stack.crash(stack.valkey)
        time.sleep(60 if is_long else 5)
        stack.valkey.start()


def test_a_redis_that_comes_back_empty_is_not_missed(stack: Stack, shop: Shop) -> None:
    with shop.going_on():
        stack.valkey.stop()
        shutil.rmtree(stack.valkey.directory)
        stack.valkey.start()
        time.sleep(1)
    with redis.Redis.from_url(stack.redis_url) as client:
        assert client.info("server")["uptime_in_seconds"] < RECOVERY_SECONDS_MAX + 10


def test_an_idle_service_asks_redis_and_postgresql_little(stack: Stack) -> None:
    """Polling ten times as often would cost CPU all day, and no other test would notice."""
    with redis.Redis.from_url(stack.redis_url) as client:

        def counts() -> tuple[int, int]:
            # PostgreSQL has the counts of a session a second after its last statement.
            ((transactions,),) = stack.rows("SELECT sum(xact_commit + xact_rollback)::int FROM pg_stat_database")
            return client.info("stats")["total_commands_processed"], int(str(transactions))

        before, began = counts(), time.monotonic()
        time.sleep(IDLE_SECONDS)
        after, seconds = counts(), time.monotonic() - began
    commands, transactions = ((b - a) / seconds for a, b in zip(before, after, strict=True))
    print(f"{commands:.1f} Redis commands and {transactions:.1f} transactions a second")
    assert commands < IDLE_COMMANDS_MAX
    assert transactions < IDLE_TRANSACTIONS_MAX


def test_a_full_redis_is_logged_once_by_each_process_kind(stack: Stack, shop: Shop) -> None:
    """And commands go on; a line for each attempt, or a traceback, would fill the disk."""
    (api,), (worker,) = stack.apis, stack.workers
    before = len(api.log), len(worker.log)

    def told() -> list[str]:
        bell = [line for line in api.log[before[0] :].splitlines() if "maxmemory" in line]
        return bell + worker.log[before[1] :].splitlines()

    with redis.Redis.from_url(stack.redis_url) as client, shop.going_on():
        client.config_set("maxmemory", "1")
        try:
            wait_until(lambda: "maxmemory" in api.log[before[0] :], MINUTE_SECONDS, "a line of the API")
            wait_until(lambda: "maxmemory" in worker.log[before[1] :], MINUTE_SECONDS, "a line of the worker")
            time.sleep(FULL_SECONDS)
        finally:
            client.config_set("maxmemory", "0")
    print(*told(), sep="\n")
    assert len(told()) <= LINES_MAX


def test_a_slow_redis_is_not_waited_for(stack: Stack, history: History, is_long: bool) -> None:
    """Late by less than what the service gives it, and by more."""
    port = urlsplit(stack.redis_url).port
    assert port is not None
    stack.workers[0].stop()
    with Delay(port).running() as delay:
        through = {"REDIS_URL": f"redis://127.0.0.1:{delay.port}/0"}
        api_port = free_port()
        api = stack.service("api-late", "serve", "--port", str(api_port), **through)
        worker = stack.service("worker-late", "work", **through)
        try:
            before = stack.rows("SELECT worker FROM shop.checkpoint")
            api.start()
            worker.start()
            wait_until(
                lambda: stack.rows("SELECT worker FROM shop.checkpoint") != before, START_SECONDS_MAX, "the late worker"
            )
            url = f"http://127.0.0.1:{api_port}"
            wait_until(lambda: answers(f"{url}/readyz"), START_SECONDS_MAX, "an API that is ready")
            shop = Shop(stack, history, url)
            with shop.going_on():
                for late in LATE_SECONDS:
                    delay.seconds = late
                    time.sleep(20 if is_long else 2)
                delay.seconds = 0
        finally:
            api.stop()
            worker.stop()
            stack.workers[0].start()
    assert_nothing_wrong(stack.database_url, history)
