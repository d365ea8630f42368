import json
import time
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from command.fields import Email
from command.importing.line import Reason
from command.importing.translation import Wanted, made_up_email, translate
from command.users import RegisterUser

EMAIL = TypeAdapter(Email)
ids = st.text(min_size=1, max_size=100)
# Ids that differ as little as ids can.
alike = st.text(alphabet="aA1 -+_.\u0130i\u0307", min_size=1, max_size=4)


@given(st.sets(ids | alike, min_size=2))
def test_made_up_addresses_are_valid_and_no_two_ids_share_one(some):
    addresses = [made_up_email(it).lower() for it in some]
    assert len(set(addresses)) == len(some)
    for address in addresses:
        assert EMAIL.validate_python(address) == address
        assert len(address.partition("@")[0]) <= 64
        assert address.isascii()


def test_a_made_up_address_never_changes():
    assert made_up_email("17850") == "customer-17850@import.invalid"
    assert made_up_email("VAL2") == "customer-val2+0684431d17d4d6165f1d@import.invalid"
    assert made_up_email("Val2 ") == "customer-val2+7fd7f39282fd1588ea06@import.invalid"


def registered(content: bytes) -> RegisterUser:
    wanted = translate(content, "users", None)
    assert isinstance(wanted, Wanted)
    assert isinstance(wanted.command, RegisterUser)
    return wanted.command


def test_name_and_address_are_the_rows_where_it_has_them():
    command = registered(b'{"id": "1", "name": "Zo\\u00eb", "email": "zoe@tea.example"}')
    assert (command.name, command.email, command.external_id) == ("Zo\u00eb", "zoe@tea.example", "1")
    command = registered(b'{"id": "Val2 "}')
    assert (command.name, command.external_id) == ("Customer Val2 ", "Val2 ")


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2011-12-09T12:50:00Z", datetime(2011, 12, 9, 12, 50, tzinfo=UTC)),
        ("2011-12-09 12:50:00.123456789+02:00", datetime(2011, 12, 9, 10, 50, 0, 123456, tzinfo=UTC)),
        ("2011-12-09t12:50:00z", datetime(2011, 12, 9, 12, 50, tzinfo=UTC)),
    ],
)
def test_times_are_rfc_3339(text, time):
    wanted = translate(b'{"id": "1", "first_seen": "%b"}' % text.encode(), "users", None)
    assert isinstance(wanted, Wanted)
    assert wanted.occurred_at == time


def test_a_time_without_a_zone_is_refused_not_guessed():
    reason = translate(b'{"id": "1", "first_seen": "2011-12-09T12:50:00"}', "users", None)
    assert isinstance(reason, Reason)
    assert reason.detail == "/first_seen: must be a time with its zone such as 2010-12-01T08:26:00Z"


def test_a_row_of_another_system_is_read_as_it_writes_numbers_and_times() -> None:
    row = b'\xef\xbb\xbf{"id": 17.0, "first_seen": "2011-12-09t12:50:00.123456789z"}'
    wanted = translate(row, "users", None)
    assert isinstance(wanted, Wanted)
    assert wanted.command.external_id == "17"  # type: ignore[attr-defined]
    assert wanted.occurred_at == datetime(2011, 12, 9, 12, 50, 0, 123456, UTC)


@pytest.mark.parametrize(
    "time",
    ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", "1970-01-01T01:00:00+01:00", "9999-12-31T23:59:59.9999999Z"],
)
def test_a_time_that_programs_write_for_a_missing_one_is_refused(time):
    reason = translate(b'{"id": "1", "first_seen": "%b"}' % time.encode(), "users", None)
    assert reason == Reason("validation-error", "/first_seen: is a time that programs write for a missing one")


def test_a_long_number_that_has_been_a_float_is_no_key():
    """Another long number may have become the same one."""
    assert isinstance(translate(b'{"id": 999999999999999.0}', "users", None), Wanted)
    assert isinstance(translate(b'{"id": 1234567890123456.0}', "users", None), Reason)


@pytest.mark.parametrize(
    "more",
    [
        *('"lines": null', '"lines": []', '"lines": [{"sku": "tea"}]', '"sku": "tea"', '"quantity": 1'),
        *('"items": {"tea": 1}', '"items": "[{\\"sku\\": \\"tea\\"}]"', '"skus": ["tea"]', '"line": {"sku": "tea"}'),
        *('"items": [{"sku": "tea", "quantity": 1}]', '"Lines": [{"sku": "tea", "quantity": 1}]'),
    ],
)
def test_a_cancellation_with_lost_lines_is_refused(more):
    row = '{"kind": "cancel_order", "at": "2011-12-09T12:50:00Z", "order": "C", "target": "T", %s}'
    reason = translate((row % more).encode(), "commands", None)
    assert isinstance(reason, Reason)
    assert reason.code == "validation-error"


@pytest.mark.parametrize("price", ["2.5", '"2.50"', "2.500000", "25e-1"])
def test_a_price_is_exact_however_it_is_written(price):
    row = '{"sku": "tea", "description": "Tea", "min_initial_stock": 1, "unit_price": ' + price + "}"
    wanted = translate(row.encode(), None, "GBP")
    assert isinstance(wanted, Wanted)
    assert wanted.command.price == Decimal("2.5")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"\xff", "malformed-json"),
        (b"{}", "unknown-kind"),
        (b'{"id": 1' + b"0" * 5_000 + b"}", "malformed-json"),
        (b"[" * 100_000, "malformed-json"),
        (b'{"kind": "\\ud800"}', "unknown-kind"),
        (b"null", "validation-error"),
    ],
)
def test_each_line_that_is_not_a_row_has_a_reason(content, code):
    reason = translate(content, None, None)
    assert isinstance(reason, Reason)
    assert reason.code == code
    assert reason.detail.encode()


def test_a_row_that_breaks_a_thousand_rules_names_a_few():
    reason = translate(order("{}", 1_000), None, None)
    assert isinstance(reason, Reason)
    assert "/lines/0/sku: Field required" in reason.detail
    assert reason.detail.endswith("and 2995 more")


def test_a_line_that_is_no_object_is_refused_in_words_that_name_nothing_of_the_code():
    reason = translate(order("7", 1), None, None)
    assert isinstance(reason, Reason)
    assert reason.detail == "/lines/0: must be an object"


def test_an_order_has_a_thousand_lines_at_most():
    line = '{"sku": "tea", "quantity": 1, "unit_price": 1}'
    assert isinstance(translate(order(line, 1_000), None, None), Wanted)
    assert isinstance(translate(order(line, 1_001), None, None), Reason)


def order(line: str, count: int) -> bytes:
    row = '{"kind": "place_order", "order": "1", "customer": "1", "at": "2011-12-09T12:50:00Z", "lines": ['
    return (row + ",".join([line] * count) + "]}").encode()


@pytest.mark.parametrize("order", ["{}", "the same"])
@pytest.mark.parametrize(("number", "is_taken"), [(1_000, True), (1_001, False)])
def test_a_return_names_orders_a_thousand_times_at_most(number, is_taken, order):
    sources = [{"order": order.format(it), "quantity": 1} for it in range(number)]
    lines = [{"sku": "tea", "quantity": len(it), "from": it} for it in (sources[:600], sources[600:])]
    row = {"kind": "return_items", "at": "2026-11-01T08:00:00Z", "order": "R1", "lines": lines}
    wanted = translate(json.dumps(row).encode(), "commands", None)
    assert isinstance(wanted, Wanted) == is_taken
    assert is_taken or "names orders 1001 times, more than 1000: split the return" in wanted.detail


def test_a_row_with_more_faults_than_fit_a_sentence_is_refused_in_little_time():
    lines = [{"sku": "tea", "quantity": 1, "from": [{}] * 320}] * 1_000
    row = {"kind": "return_items", "at": "2026-11-01T08:00:00Z", "order": "R1", "lines": lines}
    began = time.process_time()
    assert isinstance(translate(json.dumps(row).encode(), "commands", None), Reason)
    assert time.process_time() - began < 0.7
