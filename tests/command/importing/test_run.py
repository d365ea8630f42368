"""tests/fixtures/shop is made up. Each row says in `expect`, a member that no importer knows, what becomes of it."""

import asyncio
import gzip
import json
import tracemalloc
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from command.importing import history
from command.importing.files import find
from command.importing.run import WINDOW_ROWS
from eventlog import connecting
from tests.command.importing.conftest import waiting_for_the_head

SHOP = Path("tests/fixtures/shop")

USER = {"id": "ada"}
TEA = {"sku": "tea", "description": "Tea", "unit_price": 4, "min_initial_stock": 10}


def order(number: str, quantity: int, **members: Any) -> dict[str, Any]:
    lines = [{"sku": "tea", "quantity": quantity, "unit_price": 4}]
    row = {"kind": "place_order", "order": number, "customer": "ada", "at": "2024-03-01T08:00:00Z", "lines": lines}
    return row | members


def cancellation(number: str, target: str) -> dict[str, Any]:
    return {"kind": "cancel_order", "order": number, "target": target, "at": "2024-03-02T08:00:00Z"}


def expectations() -> list[tuple[str, int, str]]:
    """File, line and what is expected, of every row of the fixture."""
    expected = []
    for path in find(SHOP):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            try:
                row = json.loads(line)
            except ValueError:
                expected.append((str(path), number, "malformed-json" if line else "blank"))
            else:
                expected.append((str(path), number, row["expect"] if isinstance(row, dict) else "validation-error"))
    return expected


def test_every_row_of_the_shop_is_taken_or_refused_for_the_right_reason(shop):
    summary = shop.load(*find(SHOP))
    expected = expectations()
    fates = Counter(fate for _, _, fate in expected)
    refused = [
        (file, line, fate) for file, line, fate in expected if fate not in {"accepted", "already there", "blank"}
    ]
    assert [(it["file"], it["line"], it["code"]) for it in shop.rejected] == refused
    assert (summary.accepted, summary.already_there) == (fates["accepted"], fates["already there"])
    assert summary.refused == Counter(code for _, _, code in refused)
    assert summary.total == len(expected) - fates["blank"]
    assert summary.events == shop.events


def test_the_head_is_free_while_a_stretch_without_a_row_is_read(shop):
    """An export of one line, say. The batch before it was not committed meanwhile, and after 5 seconds it failed."""
    users = shop.file("users.jsonl", *[{"id": f"u{number}"} for number in range(WINDOW_ROWS - 10)])
    orders = shop.place / "orders.jsonl.gz"
    with gzip.open(orders, "wb", 1) as file:
        for part in (b'{"orders": [', *[b" " * 1024**2] * 300, b"]}\n"):
            file.write(part)
    with waiting_for_the_head(shop.database_url) as waited:
        summary = shop.load(users, orders)
    assert (summary.accepted, shop.codes) == (WINDOW_ROWS - 10, [(1, "row-too-large")])
    assert max(waited) < 0.5


def test_a_second_import_appends_nothing(shop):
    first = shop.load(*find(SHOP))
    events, rejected = shop.events, shop.rejected
    second = shop.load(*find(SHOP))
    assert shop.events == events
    assert (second.accepted, second.events) == (0, 0)
    assert second.already_there == first.accepted + first.already_there
    assert [(it["file"], it["line"]) for it in shop.rejected] == [(it["file"], it["line"]) for it in rejected]


def test_to_look_for_an_earlier_import_takes_little_memory(shop):
    """A file of a million orders took 320 MiB before its first row was imported."""
    orders = 50_000
    path = shop.file("orders.jsonl", *[json.dumps({"order": f"T-{number:08}"}) for number in range(orders)])

    async def look():
        async with await connecting.connect(shop.database_url) as connection:
            tracemalloc.start()
            await history.look(connection, path)
            return tracemalloc.get_traced_memory()[1]

    try:
        assert asyncio.run(look()) < 100 * orders
    finally:
        tracemalloc.stop()


def test_a_row_that_was_refused_stays_refused_when_a_later_row_of_the_file_would_now_let_it_pass(shop):
    path = shop.file("shop.jsonl", USER, TEA, order("1", 10), order("2", 10), cancellation("C1", "1"))
    shop.load(path)
    assert shop.codes == [(4, "insufficient-stock")]
    events = shop.events
    assert shop.load(path).accepted == 0
    assert shop.codes == [(4, "refused-before")]
    assert shop.events == events
    assert shop.load(path, retry=True).accepted == 1


@pytest.mark.parametrize("number", ["3", 3, 3.0])
def test_it_stays_refused_too_when_the_later_row_is_about_an_order_of_another_file(shop, number):
    shop.load(shop.file("before.jsonl", USER, TEA, order("1", 10)))
    path = shop.file("commands.jsonl", order("2", 10), cancellation(number, "1"))
    assert shop.load(path).accepted == 1
    assert shop.load(path).accepted == 0
    assert shop.codes == [(1, "refused-before")]


@pytest.mark.parametrize(
    ("again", "differs"),
    [
        (order("1", 2), "lines"),
        (order("1", 1, at="2024-03-01T09:00:00+01:00"), None),
        (order("1", 1, at="2024-03-01T09:00:00Z", customer="nobody"), "customer, at"),
        (order("1", 1, currency="USD"), "currency"),
        (cancellation("C1", "1"), None),
        (cancellation("C1", "2"), "the order that it cancels"),
    ],
)
def test_a_number_that_is_there_with_another_content_is_named(shop, again, differs):
    shop.load(shop.file("shop.jsonl", USER, TEA, order("1", 1), order("2", 1), cancellation("C1", "1")))
    events = shop.events
    summary = shop.load(shop.file("again.jsonl", again), currency=None)
    assert (summary.already_there, len(shop.rejected), shop.events) == (int(not differs), int(bool(differs)), events)
    assert all(f"is there, and differs in {differs}:" in it["detail"] for it in shop.rejected)


def test_a_row_that_is_nested_too_deeply_is_refused_and_no_other(shop):
    assert shop.load(shop.file("shop.jsonl", USER, '{"sku": ' + "[" * 100_000, TEA)).accepted == 2
    assert shop.codes == [(2, "malformed-json")]


def test_a_row_that_was_refused_is_taken_once_it_is_corrected(shop):
    rows = [USER, TEA, order("1", 1), order("2", 1)]
    shop.load(shop.file("shop.jsonl", *rows[:2], "{broken", rows[3]))
    assert shop.codes == [(3, "malformed-json")]
    summary = shop.load(shop.file("shop.jsonl", *rows))
    assert (summary.accepted, summary.already_there, summary.total) == (1, 3, 4)


def test_prices_and_times_are_the_files_and_the_rest_is_the_products(shop):
    shop.load(*find(SHOP))
    ((data, occurred_at, late),) = shop.ask(
        "SELECT data, occurred_at AT TIME ZONE 'UTC', recorded_at > now() - interval '1 hour' FROM log.events "
        "WHERE type = 'OrderPlaced' AND data->>'external_id' = 'T1'"
    )
    assert str(occurred_at) == "2024-02-01 08:26:00"
    assert late
    assert data["total"] == "23.3675"
    assert data["currency"] == "EUR"
    assert [(it["sku"], it["name"], it["unit_price"], it["amount"]) for it in data["items"]] == [
        ("assam", "Assam, loose ", "4.50", "9.00"),
        ("assam", "Assam, loose ", "4.1225", "12.3675"),
        ("POST", "Postage", "2.00", "2.00"),
    ]
    ((other_zone,),) = shop.ask(
        "SELECT occurred_at AT TIME ZONE 'UTC' FROM log.events "
        "WHERE type = 'OrderPlaced' AND data->>'external_id' = 'T2'"
    )
    assert str(other_zone) == "2024-02-01 08:26:00"
    assert shop.ask("SELECT DISTINCT metadata->'actor'->>'kind' FROM log.events") == [("import",)]


def test_a_return_from_two_orders_chains_the_stock_of_their_product(shop):
    shop.load(*find(SHOP))
    returned = shop.ask(
        "SELECT type, data->>'amount', data->>'cancelled_total_after', array(SELECT array[line->'line', "
        "line->'quantity', line->'cancelled_after']::text FROM json_array_elements(data->'lines') AS line) "
        "FROM log.events WHERE data->>'external_id' = 'R1' ORDER BY position"
    )
    # 3 at 4.1225, the price of the return, then 1 at 4.50, and the postage; of the other order 1 at its own 4.20.
    assert returned == [
        (
            "OrderLinesCancelled",
            "18.8675",
            "18.8675",
            ["{1,1,1}", "{2,3,3}", "{3,1,1}"],
        ),
        ("OrderLinesCancelled", "4.20", "4.20", ["{1,1,1}"]),
    ]
    stock = shop.ask(
        "SELECT type, (data->>'quantity')::int, (data->>'stock_after')::int FROM log.events WHERE stream = "
        "(SELECT stream FROM log.claims WHERE claim = 'sku:assam') AND version > 1 ORDER BY version"
    )
    assert stock == [
        ("StockAdjusted", None, 20),
        ("StockReserved", 5, 15),
        ("StockReserved", 4, 11),
        ("StockReserved", 10, 1),
        ("StockReleased", 4, 5),
        ("StockReleased", 1, 6),
        ("StockReleased", 1, 7),
        ("StockReserved", 7, 0),
        ("StockReleased", 3, 3),
    ]


def test_a_refused_row_leaves_no_trace(shop):
    shop.load(*find(SHOP))
    traces = shop.ask(
        "SELECT data FROM log.events WHERE data->>'external_id' IN ('R0', 'R3', 'R5', 'T5', 'C3') "
        "UNION ALL SELECT to_json(claim) FROM log.claims WHERE claim ~ ':(R0|R3|R5|T5|C3|gold|twin)$'"
    )
    assert traces == []


def test_rejects_hold_the_row_as_it_stood(shop):
    row = '{"sku": "fine",  "unit_price": 0.10000, "quantity": 1.0e2, "description": "\\u00e9\\ud800"}'
    shop.load(shop.file("products.jsonl", row, "{broken"))
    first, second = shop.rejects_path.read_text().splitlines()
    assert first.endswith(f'"row":{row}}}')
    assert json.loads(second)["row"] == "{broken"


def test_the_members_of_a_row_tell_its_kind_in_any_file(shop):
    summary = shop.load(shop.file("anything.jsonl", USER, TEA, order("1", 2), {"name": "?"}))
    assert summary.accepted == 3
    assert shop.codes == [(4, "unknown-kind")]


def test_a_rejects_file_that_was_repaired_is_told_how_its_rows_are_imported(shop):
    shop.load(shop.file("users.jsonl", "{broken"))
    shop.load(shop.file("repaired.jsonl", *shop.rejects_path.read_text().splitlines()))
    (reject,) = map(json.loads, shop.rejects_path.read_text().splitlines())
    assert reject["code"] == "unknown-kind"
    assert "This is a line of a rejects file" in reject["detail"]


def test_a_user_may_order_in_the_batch_that_registers_them(shop):
    shop.load(shop.file("products.jsonl", TEA))
    # While the writer is busy with the first row, the others gather.
    assert shop.load(shop.file("rest.jsonl", {"id": "first"}, USER, order("1", 2))).accepted == 3


def test_a_damaged_file_is_imported_as_far_as_it_goes_and_the_next_one_whole(shop):
    torn = shop.place / "users.jsonl.gz"
    torn.write_bytes(b"\x1f\x8bthis is no gzip file")
    summary = shop.load(torn, shop.file("more.jsonl", USER))
    assert summary.damaged == [str(torn)]
    assert (summary.accepted, summary.refused) == (1, {"damaged-file": 1})
    assert shop.codes == [(1, "damaged-file")]


def test_orders_keep_their_place_behind_more_rows_than_are_under_way_at_once(shop):
    rows = [USER, TEA | {"min_initial_stock": 1}]
    for number in range(700):
        rows += [order(f"{number}", 1), order(f"late-{number}", 1), cancellation(f"C{number}", f"{number}")]
    summary = shop.load(shop.file("many.jsonl", *rows))
    assert summary.accepted == 2 + 2 * 700
    assert summary.refused == {"insufficient-stock": 700}
    ((stock,),) = shop.ask(
        "SELECT data->>'stock_after' FROM log.events WHERE type LIKE 'Stock%' ORDER BY position DESC LIMIT 1"
    )
    assert stock == "1"


@pytest.mark.parametrize("currency", ["EUR", None])
def test_a_row_needs_a_currency_of_its_own_or_of_the_command_line(shop, currency):
    summary = shop.load(shop.file("products.jsonl", TEA, TEA | {"sku": "other", "currency": "USD"}), currency=currency)
    assert summary.accepted == (2 if currency else 1)
    assert shop.codes == ([] if currency else [(1, "validation-error")])


def test_progress_counts_all_files(shop):
    seen = []
    paths = find(SHOP)
    shop.load(*paths, has_read=lambda size, rows: seen.append((size, rows)))
    assert seen == sorted(seen)
    assert seen[-1] == (sum(path.stat().st_size for path in paths), 89)


def test_an_order_that_cannot_be_read_refuses_only_its_own_return(shop):
    shop.load(shop.file("all.jsonl", USER, TEA, order("1", 1), order("2", 1)))
    shop.ask(
        "WITH head AS (UPDATE log.head SET position = position + 1 RETURNING position) "
        "INSERT INTO log.events (position, stream, version, type, schema_version, occurred_at, recorded_at, data, "
        "metadata) SELECT position, (SELECT stream FROM log.claims WHERE claim = 'order:1'), 2, 'FromTheFuture', 1, "
        "now(), now(), '{}', '{}' FROM head RETURNING position"
    )
    summary = shop.load(shop.file("cancel.jsonl", cancellation("C1", "1"), cancellation("C2", "2")))
    assert summary.accepted == 1
    assert shop.codes == [(1, "internal-error")]
