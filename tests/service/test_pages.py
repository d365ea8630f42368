"""Health, readiness, metrics and the meaning of problems, from an API process."""

from collections.abc import Iterator

import psycopg
import pytest

from contract.problems import PROBLEMS
from projector.worker import Projector
from tests.served import Shop, problem, served


@pytest.fixture
def shop(database_url: str) -> Iterator[Shop]:
    with served(database_url) as shop:
        yield shop


def test_a_process_that_answers_is_alive_even_without_tables(empty_database_url: str) -> None:
    with served(empty_database_url) as shop:
        assert shop.get("/healthz").json() == {"status": "ok"}
        ready = shop.get("/readyz")
        assert ready.status_code == 503
        assert "orders migrate" in ready.json()["not_ready"]["database"]
        assert "orders_commands_total" in shop.get("/metrics").text


def test_ready_means_that_a_projector_has_just_looked_at_the_log(shop: Shop) -> None:
    projector = Projector(shop.database_url)
    projector.sweep()
    projector.close()
    assert shop.get("/readyz").json()["not_ready"] == {}


def test_a_silent_projector_is_told_with_the_time_and_its_name(shop: Shop) -> None:
    with psycopg.connect(shop.database_url) as connection:
        connection.execute("UPDATE read.checkpoint SET seen_at = now() - interval '42 s', worker = 'shop-7:123'")
    ready = shop.get("/readyz")
    assert ready.status_code == 503
    reason = ready.json()["not_ready"]["projector"]
    assert "42 s" in reason
    assert "shop-7:123" in reason


def test_the_reason_of_a_projection_that_stopped_is_told(shop: Shop) -> None:
    with psycopg.connect(shop.database_url) as connection:
        connection.execute("UPDATE read.checkpoint SET seen_at = now(), error = 'event 7: unknown'")
    assert shop.get("/readyz").json()["not_ready"] == {"projector": "event 7: unknown"}


def test_a_projector_that_beats_but_does_not_follow_is_not_ready(shop: Shop) -> None:
    shop.user()
    with psycopg.connect(shop.database_url) as connection:
        # The log refuses to be rewritten, so the clock of the checkpoint is what is moved.
        connection.execute("ALTER TABLE log.events DISABLE TRIGGER refuse_rewriting")
        connection.execute("UPDATE log.events SET recorded_at = now() - interval '1 min'")
        connection.execute("UPDATE read.checkpoint SET seen_at = now()")
    assert "1 events behind" in shop.get("/readyz").json()["not_ready"]["projector"]


def test_metrics_count_commands_by_outcome_and_tell_the_lag(shop: Shop) -> None:
    user = shop.user()
    shop.post("/users", json={"name": "Another", "email": user["email"]})
    text = shop.get("/metrics").text
    assert 'orders_commands_total{outcome="accepted"} 1.0' in text
    assert 'orders_commands_total{outcome="refused"} 1.0' in text
    assert "orders_log_head 1.0" in text
    assert 'orders_projection_lag_events{projection="read_tables"} 1.0' in text
    head = shop.http.head("/metrics")
    assert (head.status_code, head.text) == (200, "")


@pytest.mark.parametrize("code", PROBLEMS)
def test_every_problem_has_a_page_with_its_meaning_and_its_fix(module_shop: Shop, code: str) -> None:
    page = module_shop.get(f"/problems/{code}").json()
    assert page["code"] == code
    assert page["status"] == PROBLEMS[code].status
    assert page["meaning"]
    assert page["fix"]


@pytest.fixture(scope="module")
def module_shop(module_database_url: str) -> Iterator[Shop]:
    with served(module_database_url) as shop:
        yield shop


def test_there_is_no_page_for_a_problem_that_does_not_exist(module_shop: Shop) -> None:
    assert problem(module_shop.get("/problems/nope")) == (404, "not-found")


def test_a_path_that_is_nowhere_is_not_found(module_shop: Shop) -> None:
    assert problem(module_shop.get("/nowhere")) == (404, "not-found")
