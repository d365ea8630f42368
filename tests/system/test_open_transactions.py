"""Open transactions of other sessions delay no request: positions follow commit order without them."""

import contextlib
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import Connection

from projector.connecting import connect
from projector.loop import Loop
from projector.projections.shop import SHOP
from projector.replay import replay
from projector.verify import verify
from tests.builders import Writing
from tests.command.driving import check_log
from tests.projector.read_tables import contents, head, position

# More than PostgreSQL keeps on a page: versions of the head's row that a long snapshot does not let go.
COMMANDS = 300
IN_ORDERS = "CREATE TABLE public.elsewhere (id integer)"
ELSEWHERE = "SELECT pg_current_xact_id()"
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM log.events"


@contextlib.contextmanager
def left_open(database_url: str, statement: str) -> Iterator[None]:
    with psycopg.connect(database_url) as connection:
        connection.execute(statement.encode())
        yield
        connection.rollback()


@pytest.mark.parametrize("statement", [IN_ORDERS, SNAPSHOT], ids=["one that writes", "a long snapshot"])
def test_an_open_transaction_delays_no_request(database_url: str, statement: str) -> None:
    with left_open(database_url, statement), Writing(database_url) as writing, connect(database_url) as projecting:
        check_that_all_goes_on(database_url, writing, projecting)


def test_an_open_transaction_in_another_database_delays_no_request(database_url: str, empty_database_url: str) -> None:
    """It holds back what a reader by transaction ids would wait for, in the whole cluster."""
    with (
        left_open(empty_database_url, ELSEWHERE),
        Writing(database_url) as writing,
        connect(database_url) as projecting,
    ):
        check_that_all_goes_on(database_url, writing, projecting)


def check_that_all_goes_on(database_url: str, writing: Writing, projecting: Connection) -> None:
    tea = writing.product(stock=COMMANDS)
    ada = writing.user()
    for _ in range(COMMANDS):
        writing.order(ada, {tea: 1})
    loop = Loop(SHOP)
    while loop.project(projecting, COMMANDS).lag:
        pass
    assert position(projecting) == head(projecting) == check_log(database_url)
    assert len(contents(projecting)["orders"]) == COMMANDS
    replay(database_url, SHOP, lambda _: None)
    assert verify(database_url, SHOP, lambda _: None).differences == []
