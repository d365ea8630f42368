"""One trace goes from the request to the commit that shows its events; one request id is found everywhere."""

import contextlib
import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from projector.loop import Progress
from service.otel import Traces
from service.settings import Settings
from tests.builders import wait_until
from tests.projector.worker_process import WorkerProcess
from tests.served import NO_REDIS, Shop, served_with
from tests.service.otlp import Collector, collector

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PROJECTIONS = ("shop", "sales", "activity")


@contextlib.contextmanager
def api(database_url: str, redis_url: str = NO_REDIS, **settings: Any) -> Iterator[Shop]:
    urls = {"database_url": database_url, "redis_url": redis_url}
    with served_with(Settings(**urls, allow_unsafe_database=True, no_auth=True, log_format="json", **settings)) as shop:
        yield shop


@pytest.fixture
def spans() -> Iterator[Collector]:
    with collector() as got:
        yield got


def facts(span: Span) -> dict[str, str | int]:
    return {it.key: it.value.string_value or it.value.int_value for it in span.attributes}


def test_a_trace_goes_from_the_request_to_each_projection(
    database_url: str, redis_url: str, tmp_path: Path, spans: Collector
) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": spans.url}
    with (
        WorkerProcess(database_url, redis_url, tmp_path, **variables),
        api(database_url, redis_url, otel_exporter_otlp_endpoint=spans.url, otel_traces_sampler_arg=0) as shop,
    ):
        user, product = shop.user(), shop.product()
        body = {"user_id": user["id"], "items": [{"sku": product["sku"], "quantity": 1}]}
        made = shop.post("/orders", json=body, headers={"traceparent": f"00-{TRACE}-{CALLER}-01"})
        wanted = {"POST /orders", *(f"project {it}" for it in PROJECTIONS)}
        wait_until(lambda: wanted <= spans.trace(bytes.fromhex(TRACE)).keys(), 20, "the spans of the trace")
        wait_until(lambda: spans.named("project batch shop"), 20, "the span of the batch")
    trace = spans.trace(bytes.fromhex(TRACE))
    assert set(trace) == wanted
    request = trace["POST /orders"]
    assert request.parent_span_id.hex() == CALLER
    told = facts(request)
    assert told["http.response.status_code"] == 201
    assert told["orders.command"] == "PlaceOrder"
    assert told["orders.request_id"] == made.headers["x-request-id"]
    assert str(told["orders.position"]) == made.headers["sync-token"]
    for projection in PROJECTIONS:
        span = trace[f"project {projection}"]
        assert span.parent_span_id == request.span_id
        assert span.end_time_unix_nano > span.start_time_unix_nano
        assert facts(span)["orders.request_id"] == made.headers["x-request-id"]
        batches = {batch.span_id: batch for batch in spans.named(f"project batch {projection}")}
        (link,) = span.links
        assert request.span_id in {it.span_id for it in batches[link.span_id].links}
    # Nothing else was recorded: no caller asked for it, and the share is 0.
    assert {name for name, _ in spans.spans} == {"orders-api", "orders-worker"}
    assert not spans.named("POST /users")


def test_a_share_of_the_requests_is_recorded_and_a_bad_parent_is_ignored(database_url: str, spans: Collector) -> None:
    with api(database_url, otel_exporter_otlp_endpoint=spans.url, otel_traces_sampler_arg=1) as shop:
        shop.get("/users", headers={"traceparent": "00-nonsense"})
        shop.get("/users", headers={"traceparent": f"00-{TRACE}-{CALLER}-00"})  # its caller records nothing
    (span,) = spans.named("GET /users")
    assert not span.parent_span_id


def test_the_span_of_a_refused_request_has_its_status_and_its_line_names_the_span(
    database_url: str, spans: Collector, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, logger="request")
    with api(database_url, otel_exporter_otlp_endpoint=spans.url, otel_traces_sampler_arg=1) as shop:
        assert shop.get("/orders/none").status_code == 404
    (span,) = spans.named("GET /orders/{id}")
    told = facts(span)
    assert told["http.response.status_code"] == 404
    assert told["orders.code"] == "not-found"
    (line,) = [json.loads(it) for it in capsys.readouterr().err.splitlines() if '"logger":"request"' in it]
    assert line["trace_id"] == span.trace_id.hex()
    assert line["span_id"] == span.span_id.hex()


@pytest.mark.parametrize(("minutes", "continued"), [(0, 1), (2, 0)])
def test_a_projection_continues_the_trace_of_a_recent_event_and_not_of_an_old_one(
    database_url: str, spans: Collector, minutes: int, continued: int
) -> None:
    with api(database_url) as shop:
        shop.post(
            "/users",
            json={"name": "Ada", "email": "ada@example.org"},
            headers={"traceparent": f"00-{TRACE}-{CALLER}-01"},
        )
    traces = Traces(spans.url, 0, "orders-worker")
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE log.events DISABLE TRIGGER refuse_rewriting")
        connection.execute("UPDATE log.events SET recorded_at = recorded_at - make_interval(mins => %s)", [minutes])
        traces.projected(connection, "shop", Progress(position=1, head=1, events=1))
    traces.stop()
    assert len(spans.named("project shop")) == continued


def test_a_missing_collector_delays_no_request_and_no_shutdown(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    with api(database_url, otel_exporter_otlp_endpoint="http://127.0.0.1:1", otel_traces_sampler_arg=1) as shop:
        for _ in range(50):
            assert shop.get("/users").status_code == 200
        began = time.monotonic()
    assert time.monotonic() - began < 10


def test_without_an_endpoint_nothing_of_it_is_loaded() -> None:
    """redis-py loads a part of the SDK by itself where it is installed."""
    code = """
import sys, service.app, service.worker
from service.settings import Settings
service.app.create_app(Settings(database_url="postgresql://a@127.0.0.1:1/a", redis_url="redis://127.0.0.1:1"))
assert not [it for it in sys.modules if it.startswith(("service.otel", "opentelemetry.exporter"))]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_endpoint_without_the_extra_stops_the_start_with_one_line(tmp_path: Path) -> None:
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry/__init__.py").write_text("raise ModuleNotFoundError('not here')")
    urls = {"DATABASE_URL": "postgresql://a@127.0.0.1:1/a", "REDIS_URL": NO_REDIS, "ALLOW_UNSAFE_DATABASE": "1"}
    code = (
        "from service.settings import Settings; from service.tracing import traces_of; traces_of(Settings.load(), 'a')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=urls | {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "PYTHONPATH": str(tmp_path)},
    )
    assert done.stderr.splitlines()[-1].startswith(
        "service.errors.OperatorError: OTEL_EXPORTER_OTLP_ENDPOINT is set, and"
    )


def test_the_id_of_a_request_is_in_the_answer_the_log_the_event_and_the_log_of_the_worker(
    database_url: str,
    redis_url: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="request")
    worker_log = tmp_path / "worker.log"
    with WorkerProcess(database_url, redis_url, tmp_path, LOG_LEVEL="debug"), api(database_url, redis_url) as shop:
        order = shop.order()
        made = shop.post(f"/orders/{order['id']}/cancel")
        known_as = made.headers["x-request-id"]
        wait_until(lambda: f"[{known_as}]" in worker_log.read_text(), 20, "the id in the log of the worker")
        ((kept,),) = shop.rows("SELECT metadata->>'request_id' FROM log.events WHERE type = 'OrderCancelled'")
        assert kept == known_as
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines() if '"logger":"request"' in line]
    (line,) = [it for it in lines if it["request_id"] == known_as]
    assert (line["route"], line["status"]) == ("/orders/{id}/cancel", 200)
    assert f"shop: event {line['position']} is projected [{known_as}]" in worker_log.read_text()
