"""A worker hangs up on a server that does not answer, and goes on with the next connection."""

import time

import psycopg
import pytest

from projector import session
from projector.connecting import connect
from projector.follower import Follower
from projector.projections.shop import SHOP
from projector.session import PatientConnection
from tests.builders import Writing
from tests.projector.read_tables import error, head, position
from tests.projector.test_loop import nothing_happens_any_more, on_moving_the_checkpoint


def test_a_statement_without_an_answer_ends_the_connection(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with connect(database_url, PatientConnection) as connection:
        monkeypatch.setattr(session, "ANSWER_SECONDS_MAX", 0.3)
        started = time.monotonic()
        with pytest.raises(psycopg.OperationalError, match="no answer from PostgreSQL"), connection.transaction():
            connection.execute("SELECT pg_sleep(9)")
        assert time.monotonic() - started < 5
        assert connection.closed


def test_a_batch_without_an_answer_is_done_again_on_another_connection(
    database_url: str, writing: Writing, other: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    writing.user()
    on_moving_the_checkpoint(other, "PERFORM pg_sleep(2); RETURN NEW;")
    projector = Follower(database_url, SHOP)
    monkeypatch.setattr(session, "ANSWER_SECONDS_MAX", 0.5)
    started = time.monotonic()
    projector.sweep()
    assert time.monotonic() - started < 2
    assert position(other) == 0
    time.sleep(2)  # until the server has noticed that nobody is there
    nothing_happens_any_more(other)
    projector.sweep()
    projector.close()
    assert (position(other), error(other)) == (head(other), None)
