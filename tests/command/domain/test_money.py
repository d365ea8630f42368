"""Money is exact, whatever form it comes in, and is written in one way."""

from decimal import Decimal, localcontext

import pytest
from hypothesis import given, strategies
from hypothesis.strategies import decimals, integers

from command.domain import money
from command.domain.currencies import CURRENCIES

amounts = decimals(min_value=0, max_value=Decimal("999999999999.9999"), places=4, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("49.99", "49.99"),
        ("0", "0.00"),
        ("2.5", "2.50"),
        ("2.500", "2.50"),
        ("12.500000", "12.50"),
        ("0.125", "0.125"),
        ("0.0001", "0.0001"),
        ("999999999999.9999", "999999999999.9999"),
        ("007", "7.00"),
        (5, "5.00"),
        (0, "0.00"),
        (100, "100.00"),
        (999_999_999_999, "999999999999.00"),
        (Decimal("2.5"), "2.50"),
        (Decimal("1e-4"), "0.0001"),
        (Decimal("12.500000000000000000000000000000000000"), "12.50"),
        (Decimal("0E-999999"), "0.00"),
        (Decimal("1e3"), "1000.00"),
        (Decimal("1.5E+3"), "1500.00"),
        (Decimal("-0.0"), "0.00"),
        (Decimal("0E+999999"), "0.00"),
    ],
)
def test_an_amount_is_taken_exactly_and_written_with_two_decimals_or_those_needed(value: object, text: str) -> None:
    assert money.text(money.parse(value)) == text


@pytest.mark.parametrize(
    "value",
    [
        *["", " ", "1e3", "+1", "-1", "-0", " 1", "1 ", "1\n", "1.", ".5", "1.00001", "1,5", "1_000", "0x1"],
        *["NaN", "Infinity", "1000000000000", "٣", "１", "9" * 5000],  # noqa: RUF001 - digits, but not ASCII's
        *[-1, 10**12, 10**400, True, False, None, [], {}, 1.5],
        *map(Decimal, ["-0.01", "-1", "1e12", "1e400", "1E+999999", "1e-5", "1.00001", "1e-400"]),
        *map(Decimal, ["NaN", "sNaN", "Infinity"]),
    ],
)
def test_rejects_an_invalid_amount(value: object) -> None:
    with pytest.raises(ValueError, match="must"):
        money.parse(value)


def test_the_same_amount_is_one_value_however_it_is_written() -> None:
    forms: list[object] = ["2.5", "2.50", "2.500", Decimal("2.5"), Decimal("25e-1")]
    assert {str(money.parse(form)) for form in forms} == {"2.5000"}


@given(amounts)
def test_an_amount_survives_being_written_and_read(amount: Decimal) -> None:
    assert money.parse(money.text(amount)) == amount


@given(amounts)
def test_equal_amounts_are_written_alike(amount: Decimal) -> None:
    assert money.text(amount) == money.text(amount.normalize()) == money.text(amount.quantize(Decimal("0.0001")))


@given(strategies.lists(strategies.tuples(amounts, integers(1, 1_000_000)), min_size=1, max_size=50))
def test_sums_of_lines_are_never_rounded(lines: list[tuple[Decimal, int]]) -> None:
    total = sum((amount * quantity for amount, quantity in lines), Decimal(0))
    with localcontext(prec=100):
        exact = sum((amount * quantity for amount, quantity in lines), Decimal(0))
    assert total == exact
    assert money.text(total) == money.text(exact)


def test_the_largest_order_there_can_be_is_exact() -> None:
    price = Decimal("999999999999.9999")
    total = sum((price * 1_000_000 for _ in range(1_000)), Decimal(0))
    assert money.text(total) == "999999999999999900000.00"


def test_currencies_are_those_of_iso_4217() -> None:
    assert {"EUR", "GBP", "USD", "JPY", "KWD", "XOF"} <= CURRENCIES
    assert not {"XXX", "XTS", "XAU", "eur", "DEM", ""} & CURRENCIES
    assert all(len(code) == 3 and code.isupper() and code.isascii() for code in CURRENCIES)
