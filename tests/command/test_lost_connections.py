"""A connection that breaks at the worst moment: what is answered is what happened, or that it is not known."""

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from command.domain.refusals import OutOfStock
from command.states import States
from command.submission import Answer, Command, Key, Outcome, OutcomeUnknown, Unavailable
from command.users import RegisterUser
from eventlog import append, connecting, failures, stalled
from eventlog.ids import new_id
from service.embedded import PostgresServer
from service.migrate import upgrade
from tests.builders import wait_until
from tests.command.driving import Driver, cancel, check_log, driving, execute, place, restock, rows, stock_of
from tests.command.proxy import Fault, Proxy

pytestmark = pytest.mark.anyio

KEY = Key(b"ada", "key", b"fingerprint")


def a_user() -> RegisterUser:
    user_id = new_id()
    return RegisterUser(user_id, "Ada", f"{user_id}@example.org", None)


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    async with Proxy(database_url).running(database_url) as proxy:
        yield proxy


@contextlib.asynccontextmanager
async def through(proxy: Proxy, batch_seconds_max: float = 10) -> AsyncIterator[Driver]:
    """A writer behind the proxy, with as yet no COMMIT on its connection."""
    async with driving(
        proxy.url, batch_seconds_max=batch_seconds_max, answer_seconds_max=batch_seconds_max + 0.6
    ) as driver:
        yield driver


async def test_a_commit_whose_answer_is_lost_is_answered_from_the_log(writer: Driver, proxy: Proxy) -> None:
    ada, tea = await writer.user(), await writer.product(stock=1)
    async with through(proxy) as driver:
        proxy.fault = Fault.ANSWER_LOST
        first, refused = await asyncio.gather(
            driver.do(place(ada, (tea, 1)), KEY), driver.do(place(ada, (tea, 1))), return_exceptions=True
        )
        assert isinstance(first, Answer)
        assert (first.status, first.position, first.replayed) == (201, check_log(writer.database_url), False)
        assert isinstance(refused, OutOfStock)
        again = await driver.do(place(ada, (tea, 1)), KEY)
        assert (again.body, again.replayed) == (first.body, True)
        assert driver.rings == 1
        await driver.do(restock(tea, 5))
    assert stock_of(writer.database_url, tea) == 5
    check_log(writer.database_url)


async def test_a_command_with_nothing_left_to_do_is_no_repetition_when_its_commit_goes_unheard(
    writer: Driver, proxy: Proxy
) -> None:
    ada, tea = await writer.user(), await writer.product(stock=1)
    order = await writer.order(ada, (tea, 1))
    await writer.do(cancel(order))
    async with through(proxy) as driver:
        proxy.fault = Fault.ANSWER_LOST
        first = await driver.do(cancel(order), KEY)
        assert (first.status, first.replayed, driver.rings) == (200, False, 0)
        again = await driver.do(cancel(order), KEY)
        assert (again.body, again.replayed) == (first.body, True)
    check_log(writer.database_url)


@pytest.mark.parametrize("fault", [Fault.COMMIT_LOST, Fault.STATEMENTS_ARRIVE_COMMIT_LOST])
async def test_a_commit_that_never_arrived_is_tried_once_more(writer: Driver, proxy: Proxy, fault: Fault) -> None:
    ada, tea = await writer.user(), await writer.product(stock=1)
    async with through(proxy) as driver:
        proxy.fault = fault
        first = await driver.do(place(ada, (tea, 1)), KEY)
        assert (first.status, first.replayed, driver.rings) == (201, False, 1)
    assert stock_of(writer.database_url, tea) == 0
    check_log(writer.database_url)


@pytest.mark.parametrize("fault", [Fault.COMMIT_LOST, Fault.STATEMENTS_ARRIVE_COMMIT_LOST])
async def test_a_commit_that_never_arrived_twice_appends_nothing(writer: Driver, proxy: Proxy, fault: Fault) -> None:
    ada, tea = await writer.user(), await writer.product(stock=1)
    before = check_log(writer.database_url)
    async with through(proxy) as driver:
        proxy.fault, proxy.times = fault, 2
        with pytest.raises(Unavailable):
            await driver.do(place(ada, (tea, 1)), KEY)
        assert check_log(writer.database_url) == before
        assert driver.rings == 0
        assert not (await driver.do(place(ada, (tea, 1)), KEY)).replayed
    assert stock_of(writer.database_url, tea) == 0
    check_log(writer.database_url)


async def test_when_the_server_cannot_be_asked_the_outcome_is_unknown(writer: Driver, proxy: Proxy) -> None:
    ada, tea = await writer.user(), await writer.product(stock=1)
    async with through(proxy) as driver:
        proxy.fault = Fault.ANSWER_LOST_AND_SERVER_GONE
        with pytest.raises(OutcomeUnknown):
            await driver.do(place(ada, (tea, 1)), KEY)
        with pytest.raises(Unavailable):
            await driver.do(place(ada, (tea, 1)), KEY)
        proxy.refusing = False
        # It had been accepted: a request with the same key gets the answer.
        assert (await driver.do(place(ada, (tea, 1)), KEY)).replayed
    assert rows(writer.database_url, "SELECT count(*) FROM log.events WHERE type = 'OrderPlaced'") == [(1,)]
    check_log(writer.database_url)


async def test_a_commit_is_never_cancelled_and_a_silent_server_blocks_no_client(writer: Driver, proxy: Proxy) -> None:
    ada, tea = await writer.user(), await writer.product(stock=1)
    async with through(proxy, batch_seconds_max=0.5) as driver:
        proxy.fault = Fault.SILENCE
        began = time.monotonic()
        with pytest.raises(OutcomeUnknown):
            await driver.do(place(ada, (tea, 1)))
        assert time.monotonic() - began < 5
        assert proxy.cancel_requests == 0


async def test_a_connection_that_breaks_between_batches_is_made_anew(writer: Driver, proxy: Proxy) -> None:
    async with through(proxy) as driver:
        ada = await driver.user()
        proxy.cut()
        await asyncio.sleep(0)
        with contextlib.suppress(Unavailable):
            await driver.do(a_user())
        tea = await driver.product(stock=1)
        await writer.do(place(ada, (tea, 1)))
        with pytest.raises(OutOfStock):
            await driver.do(place(ada, (tea, 1)))
    check_log(writer.database_url)


@dataclass
class CutOffWhileDeciding:
    """A command whose decision takes so long that the server ends the session."""

    command: Command
    database_url: str

    def reads(self, states: States) -> Iterable[str]:
        return self.command.reads(states)

    def decide(self, states: States) -> Outcome:
        end_other_sessions(self.database_url)
        return self.command.decide(states)


def end_other_sessions(database_url: str) -> None:
    execute(
        database_url,
        """
        SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
        """,
    )


async def test_clients_do_not_notice_a_server_restart_between_two_batches(writer: Driver) -> None:
    ada = await writer.user()
    end_other_sessions(writer.database_url)
    tea = await writer.product()
    end_other_sessions(writer.database_url)
    assert (await writer.do(place(ada, (tea, 1)), Key(b"caller", "key", b"request"))).status == 201


async def test_a_session_that_is_terminated_while_it_decides_appends_nothing(writer: Driver) -> None:
    ada, tea = await writer.user(), await writer.product(stock=1)

    before = check_log(writer.database_url)
    with pytest.raises(Unavailable):
        await writer.do(CutOffWhileDeciding(place(ada, (tea, 1)), writer.database_url))
    assert check_log(writer.database_url) == before
    assert (await writer.do(place(ada, (tea, 1)))).status == 201


async def test_a_writer_that_stalls_while_it_holds_the_head_is_disconnected(writer: Driver) -> None:
    holder = await connecting.connect(writer.database_url)
    try:
        cursor = await holder.execute("SHOW idle_in_transaction_session_timeout")
        assert await cursor.fetchone() == (f"{stalled.SECONDS_MAX}s",)
        await holder.execute("SET idle_in_transaction_session_timeout = '300ms'")
        await append.take_head(holder)
        assert (await writer.do(a_user())).position == 1
    finally:
        await holder.close()


@pytest.mark.parametrize("statement", ["SELECT repeat('x', 100000000)", "COPY log.claims FROM STDIN"])
async def test_a_writer_that_stops_in_the_middle_of_a_statement_loses_the_head(writer: Driver, statement: str) -> None:
    """The server's own timeout does not reach a session that waits for its client to read or to write."""
    with contextlib.closing(psycopg.connect(writer.database_url, application_name="orders writer")) as stopped:
        stopped.execute("SELECT FROM log.head FOR UPDATE")
        stopped.pgconn.send_query(statement.encode())  # and goes no further
        waits = "SELECT wait_event_type FROM pg_stat_activity WHERE state = 'active' AND pid = %s"
        pid = stopped.info.backend_pid
        wait_until(lambda: rows(writer.database_url, waits, pid) == [("Client",)], 10, "it is stuck")
        with pytest.raises(Unavailable):
            await writer.do(a_user())
        assert (await writer.do(a_user())).position == 1


async def test_a_command_that_waits_too_long_for_the_head_was_not_done(database_url: str) -> None:
    holder = await connecting.connect(database_url)
    try:
        await append.take_head(holder)
        async with driving(database_url, batch_seconds_max=0.3) as driver:
            with pytest.raises(Unavailable):
                await driver.do(a_user())
            await holder.execute("ROLLBACK")
            assert (await driver.do(a_user())).position == 1
    finally:
        await holder.close()


async def test_a_writer_that_gives_up_on_the_head_says_that_it_took_too_long(database_url: str) -> None:
    with psycopg.connect(database_url) as holder:
        holder.execute("SELECT FROM log.head FOR UPDATE")
        async with driving(database_url, batch_seconds_max=0.2) as driver:
            with pytest.raises(Unavailable, match="the database took too long"):
                await driver.do(a_user())


async def test_a_writer_that_gives_up_on_the_head_leaves_no_session_behind(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that waits for a lock does not notice that its client is gone."""
    assert connecting.LIMITS.lock is not None
    monkeypatch.setattr(connecting, "LIMITS", replace(connecting.LIMITS, lock=1))
    left = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND application_name = 'orders writer' AND wait_event_type = 'Lock'"
    )
    with psycopg.connect(database_url) as holder:
        holder.execute("SELECT FROM log.head FOR UPDATE")
        async with driving(database_url, batch_seconds_max=0.2) as driver:
            for _ in range(3):
                with pytest.raises(Unavailable):
                    await driver.do(a_user())
            assert rows(database_url, left) != [(0,)]
            wait_until(lambda: rows(database_url, left) == [(0,)], 5, "those that hung up are gone")


async def test_a_transaction_that_takes_too_long_is_ended_as_an_outage(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "LIMITS", replace(connecting.LIMITS, transaction=1))
    connection = await connecting.connect(database_url)
    try:
        await append.take_head(connection)
        with pytest.raises(psycopg.Error) as raised:
            await connection.execute("SELECT pg_sleep(5)")
        assert raised.value.sqlstate == "25P04"
        assert failures.is_outage(raised.value)
    finally:
        await connection.close()


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """A server that may be stopped, not started yet."""
    directory = Path(tempfile.mkdtemp(prefix="orders-test-"))
    directory.chmod(0o755)  # as root the server runs as another user, who must get through
    server = PostgresServer(directory, {"fsync": "off"})
    yield server
    server.stop()
    shutil.rmtree(directory)


async def test_a_server_that_is_gone_is_unavailable_until_it_is_back(server: PostgresServer) -> None:
    url = server.start()
    upgrade(url)
    async with driving(url) as driver:
        await driver.user()
        server.stop()
        with pytest.raises(Unavailable):
            await driver.do(a_user())
        assert server.start() == url
        assert (await driver.do(a_user())).position == 2
