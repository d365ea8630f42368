"""Health, readiness, metrics and the meaning of problems, from an API process."""

from collections.abc import Iterator

import psycopg
import pytest

from contract.problem_types import PROBLEMS
from contract.resources import ProjectionView
from projector.projections.shop import SHOP
from service.projections import PROJECTIONS
from tests.projecting import sweep
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
    sweep(shop.database_url)
    assert shop.get("/readyz").json()["not_ready"] == {}


def test_the_page_names_a_silent_projector_and_its_last_time(shop: Shop) -> None:
    with psycopg.connect(shop.database_url) as connection:
        connection.execute("UPDATE shop.checkpoint SET seen_at = now() - interval '42 s', worker = 'shop-7:123'")
    ready = shop.get("/readyz")
    assert ready.status_code == 503
    reason = ready.json()["not_ready"]["projector"]
    assert "42 s" in reason
    assert "shop-7:123" in reason


def test_the_page_shows_the_reason_of_a_stopped_projection(shop: Shop) -> None:
    sweep(shop.database_url)
    with psycopg.connect(shop.database_url) as connection:
        connection.execute("UPDATE shop.checkpoint SET error = 'event 7: unknown'")
    assert shop.get("/readyz").json()["not_ready"] == {"projector": "shop: event 7: unknown"}


def test_a_projector_that_beats_but_does_not_follow_is_not_ready(shop: Shop) -> None:
    shop.user()
    with psycopg.connect(shop.database_url) as connection:
        # The log refuses to be rewritten, so the clock of the checkpoint is what is moved.
        connection.execute("ALTER TABLE log.events DISABLE TRIGGER refuse_rewriting")
        connection.execute("UPDATE log.events SET recorded_at = now() - interval '1 min'")
        connection.execute("UPDATE shop.checkpoint SET seen_at = now()")
    assert "1 events behind" in shop.get("/readyz").json()["not_ready"]["projector"]


def test_metrics_count_commands_by_outcome_and_tell_the_lag(shop: Shop) -> None:
    user = shop.user()
    shop.post("/users", json={"name": "Another", "email": user["email"]})
    text = shop.get("/metrics").text
    assert 'orders_commands_total{code="",command="RegisterUser",outcome="accepted"} 1.0' in text
    assert 'orders_commands_total{code="email-taken",command="RegisterUser",outcome="refused"} 1.0' in text
    assert 'orders_events_appended_total{type="UserRegistered"} 1.0' in text
    assert "orders_append_batch_decisions_sum 1.0" in text
    assert "orders_writer_wait_seconds_count 2.0" in text
    assert "orders_log_head_position 1.0" in text
    for projection in ("shop", "sales", "activity"):
        assert f'orders_projection_lag_events{{projection="{projection}"}} 1.0' in text
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


def test_each_projection_is_listed_with_its_position_and_state(shop: Shop) -> None:
    sweep(shop.database_url)
    shop.user()
    answer = shop.get("/projections")
    found = answer.json()["data"]
    assert [list(it) for it in found] == [list(ProjectionView.model_fields)] * 3
    assert [(it["name"], it["version"], it["position"], it["head"], it["lag_events"]) for it in found] == [
        (projection.name, projection.version, 0, 1, 1) for projection in PROJECTIONS
    ]
    assert answer.headers["sync-token"] == "0"


def test_reads_of_tables_of_another_version_wait_for_their_rebuild_and_commands_go_on(shop: Shop) -> None:
    sweep(shop.database_url)
    with psycopg.connect(shop.database_url) as connection:
        connection.execute("UPDATE shop.checkpoint SET version = 0")
    user = shop.user()
    for path in (f"/users/{user['id']}", "/users", "/orders"):
        answer = shop.get(path)
        assert problem(answer) == (503, "projection-behind")
        assert answer.headers["retry-after"] == "5"
    assert shop.get("/sales").status_code == 200
    told = shop.get("/readyz").json()["not_ready"]["projector"]
    assert told.startswith(
        f"shop: its tables are of version 0, this release needs {SHOP.version}: `orders replay shop` "
    )
    assert shop.get("/projections").json()["data"][0]["state"] == "outdated"
    sweep(shop.database_url)
    sweep(shop.database_url)
    assert shop.get(f"/users/{user['id']}").json() == user
    assert shop.get("/readyz").json()["not_ready"] == {}
