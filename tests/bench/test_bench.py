"""The measurements' own parts: contenders that answer rightly, logs that the service could have written."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench import ceiling, load, machine, targets
from bench.contenders import crud_database
from bench.history import PRODUCTS, USERS, add_long_stream, write_history, write_ids
from bench.load import Load
from bench.options import BenchError, Options
from bench.process import Process
from bench.report import Report, document, write
from bench.rounds import alternate, interval, ratio
from bench.stage import ROOT, Stage, execute, free_port
from command.states import States
from eventlog.codec import Codec
from eventlog.connecting import connect
from projector.connecting import connect as projecting
from projector.loop import Loop
from projector.projections.shop import SHOP
from tests import loopback

WITHOUT_EVENTS = ["crud", "crud_tuned"]


class OnTestServer(Stage):
    """The part of a stage that contenders' tables need, on the tests' own server."""

    def __init__(self, url: str, directory: Path) -> None:
        self.directory = directory
        self._url = url

    def database(self, name: str, *, migrated: bool = True, template: str = "template0") -> str:
        return self._url


@pytest.fixture
def served(
    request: pytest.FixtureRequest, empty_database_url: str, tmp_path: Path
) -> Iterator[tuple[httpx.Client, str]]:
    """A service without events, as the measurements start it."""
    url = crud_database(OnTestServer(empty_database_url, tmp_path), "crud", users=2, products=3)
    port = str(free_port())
    environment = os.environ | {"DATABASE_URL": url, "PORT": port, "PYTHONPATH": str(ROOT)}
    process = Process("contender", [sys.executable, "-P", "-m", "bench.serve", request.param], environment, tmp_path)
    process.start()
    try:
        process.wait_until_answers(f"http://127.0.0.1:{port}/healthz")
        with loopback.Client(base_url=f"http://127.0.0.1:{port}") as client:
            yield client, url
    finally:
        process.stop()


def order_of(url: str, quantity: int = 2) -> dict[str, Any]:
    users = execute(url, "SELECT id::text FROM users ORDER BY id")
    products = execute(url, "SELECT id::text FROM products ORDER BY id DESC LIMIT 2")
    items = [{"product_id": id_, "quantity": quantity + number} for number, (id_,) in enumerate(products)]
    return {"user_id": users[0][0], "items": items}


@pytest.mark.parametrize("served", WITHOUT_EVENTS, indirect=True)
def test_a_service_without_events_places_an_order_as_a_whole(served: tuple[httpx.Client, str]) -> None:
    client, url = served
    wanted = order_of(url)
    answer = client.post("/orders", json=wanted)
    assert answer.status_code == 201, answer.text
    order = answer.json()
    assert [item["quantity"] for item in order["items"]] == [2, 3]
    assert [item["product_id"] for item in order["items"]] == [item["product_id"] for item in wanted["items"]]
    assert Decimal(order["total"]) == sum(Decimal(item["amount"]) for item in order["items"])
    assert set(order) == set(json.loads(ceiling.ORDER))
    assert set(order["items"][0]) == set(json.loads(ceiling.ORDER)["items"][0])
    stock = execute(url, "SELECT sum(1000000000 - stock) FROM products")
    assert stock == [(5,)]


@pytest.mark.parametrize("served", WITHOUT_EVENTS, indirect=True)
def test_a_service_without_events_refuses_and_leaves_nothing_behind(served: tuple[httpx.Client, str]) -> None:
    client, url = served
    too_much = order_of(url)
    execute(url, "UPDATE products SET stock = 2 WHERE id = %(id)s", {"id": too_much["items"][1]["product_id"]})
    nobody = order_of(url) | {"user_id": str(uuid.uuid4())}
    unknown = order_of(url) | {"items": [{"product_id": str(uuid.uuid4()), "quantity": 1}]}
    assert client.post("/orders", json=too_much).status_code == 409
    assert client.post("/orders", json=nobody).status_code == 422
    assert client.post("/orders", json=unknown).status_code == 422
    assert client.post("/orders", json={"user_id": "x", "items": []}).status_code == 422
    assert execute(url, "SELECT count(*) FROM orders") == [(0,)]
    assert execute(url, "SELECT count(*) FROM products WHERE stock = 1000000000") == [(2,)]


@pytest.mark.parametrize("served", ["crud"], indirect=True)
def test_plain_crud_reads_its_own_orders(served: tuple[httpx.Client, str]) -> None:
    client, url = served
    placed = client.post("/orders", json=order_of(url)).json()
    assert client.get(f"/orders/{placed['id']}").json() == placed
    assert client.get("/orders", params={"limit": 50}).json() == [placed]
    assert client.get(f"/orders/{uuid.uuid4()}").status_code == 404


def test_the_service_goes_on_from_a_history_written_by_sql(database_url: str, tmp_path: Path) -> None:
    orders = 2_000
    events = write_history(database_url, orders, users=10, products=20)
    assert events == 10 + 2 * 20 + 3 * orders + 3 * (orders // 33)
    assert execute(database_url, "SELECT count(*), max(position), min(position) FROM log.events") == [
        (events, events, 1)
    ]
    in_order = "SELECT correlation FROM pg_stats WHERE tablename = 'events' AND attname = 'position'"
    assert execute(database_url, in_order)[0][0] > 0.999
    ids = write_ids(database_url, tmp_path, "history", users=10, products=20)
    assert (len(ids.users.read_text().split()), len(ids.products.read_text().split())) == (10, 20)
    projector = Loop(SHOP)
    with projecting(database_url) as connection:
        while projector.project(connection, 5_000).lag:
            pass
    # What the write side makes of a product, from its snapshot, is what the read side made of all its events.
    expected = execute(database_url, "SELECT 'product-' || id, version, stock FROM shop.products ORDER BY id")
    assert asyncio.run(loaded(database_url, [stream for stream, _, _ in expected])) == expected
    assert execute(database_url, "SELECT count(*) FROM shop.orders WHERE status = 'cancelled'") == [(orders // 33,)]


async def loaded(url: str, streams: list[str]) -> list[tuple[str, int, int | None]]:
    states = States(Codec())
    connection = await connect(url)
    await states.load(connection, streams)
    await connection.close()
    products = [(stream, states.product(stream.removeprefix("product-"))) for stream in streams]
    return [(stream, product.version, product.state.stock) for stream, product in products if product]


def test_a_long_stream_loads_from_its_snapshot(database_url: str) -> None:
    stream = add_long_stream(database_url, 1_002)
    assert asyncio.run(loaded(database_url, [stream])) == [(stream, 1_002, 1_001)]


def test_the_ceiling_answers_as_much_as_the_service_does(database_url: str) -> None:
    write_history(database_url, 1, users=1, products=2)
    projector = Loop(SHOP)
    with projecting(database_url) as connection:
        projector.project(connection, 100)
    (total,) = execute(database_url, "SELECT total::text FROM shop.orders")[0]
    assert len(total) == len(json.loads(ceiling.ORDER)["total"])


def test_reads_the_report_of_wrk() -> None:
    line = '{"requests": 10, "refused": 1, "broken": 0, "seconds": 2.0, "p50_ms": 1, "p90_ms": 2, "p99_ms": 3}'
    done = load.parse(f"Running 2s test\n{line}\n")
    assert (done.answered, done.per_second) == (9, 4.5)
    with pytest.raises(BenchError, match="reported nothing"):
        load.parse("unable to connect")


def test_without_wrk_one_line_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BenchError, match="apt-get install wrk"):
        load.program()


def test_contenders_take_turns_and_are_compared_round_by_round() -> None:
    order: list[str] = []

    def run(name: str, rate: float) -> Load:
        order.append(name)
        return Load(int(rate), 0, 0, 1.0, 1, 1, 1)

    results = alternate({"a": lambda n: run("a", 20 + n), "b": lambda n: run("b", 10 * (n + 1))}, 3)
    assert order == ["a", "b"] * 3
    assert ratio(results["a"], results["b"], lambda it: it.per_second) == pytest.approx(21 / 20)


def test_the_confidence_interval_of_a_median_has_the_bounds_of_the_sign_test() -> None:
    """The tables of the sign test: of 9 values the second and the eighth, of 15 the fourth and the twelfth."""
    for count, left_out in ((1, 0), (5, 0), (9, 1), (15, 3), (100, 39)):
        values = [float(number) for number in range(count)]
        assert interval([*reversed(values)]) == (values[left_out], values[-1 - left_out])


def test_the_summary_tells_reached_from_missed() -> None:
    table = targets.summary({"write.vs_crud": 14.0, "write.vs_tuned": 2.9, "write.p99_vs_crud": 0.05})
    assert [row[-1] for row in table.rows] == ["reached", "MISSED", "reached"]


@pytest.mark.skipif(shutil.which("wrk") is None, reason="apt-get install wrk")
def test_the_real_service_is_measured_and_checked(tmp_path: Path) -> None:
    from bench.contenders import new_service
    from bench.write import placing

    report = Report("write")
    with Stage(tmp_path) as stage:
        ours = new_service(stage, "ours")
        ours.start()
        done = placing(ours, connections=4, seconds=1, keys=True)(0)
        report.keep("smoke", {"ours": [done]})
        _, head = ours.position()
        write(tmp_path / "results" / "one.json", document(machine.facts(stage), asdict(Options()), [report]))
    written = json.loads((tmp_path / "results" / "one.json").read_text())
    assert written["machine"]["postgresql_settings"]["fsync"] == "on"
    assert written["parts"]["write"]["runs"][0]["contender"] == "ours"
    assert done.answered > 0
    assert (done.refused, done.broken) == (0, 0)
    assert head >= USERS + 2 * PRODUCTS + 3 * done.answered
    assert report.runs[0]["requests"] == done.requests


def test_the_replay_makes_the_rows_that_plain_sql_makes(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bench", "replay", "--quick", "--directory", str(tmp_path)]
    output = tmp_path / "one.json"
    done = subprocess.run([*command, "--output", str(output)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "replay, share of pure SQL" in done.stdout
    assert json.loads(output.read_text())["parts"]["replay"]["runs"]
