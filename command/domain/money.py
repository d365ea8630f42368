"""Exact money: decimal text in, decimal text out, Decimal in between.

Sums stay exact in Python's default context of 28 digits: the largest order is 1,000 lines x 1,000,000 pieces x 10^12,
which with its 4 decimals has 26.
"""

import re
from decimal import Decimal

DECIMALS_MAX = 4
AMOUNT_LIMIT = Decimal(10) ** 12

_SMALLEST = Decimal(1).scaleb(-DECIMALS_MAX)
# Some languages write all the decimals of a type, so zeros may follow.
_AMOUNT = re.compile(r"[0-9]{1,12}(\.[0-9]{1,4}0{0,14})?", re.ASCII)


def parse(value: object) -> Decimal:
    """The price that a JSON value means: a decimal string, an int, or a Decimal (a JSON number read as text).

    2.5, "2.5" and "2.500000" become the very same Decimal, so that requests with them are the same request. Raises
    ValueError for anything that is not an amount from 0 to below 10^12 with at most 4 decimals.
    """
    if isinstance(value, str):
        if not _AMOUNT.fullmatch(value):
            raise ValueError("must be a decimal such as 49.99: 0 or more, below 10^12, at most 4 decimals")
        return Decimal(value).quantize(_SMALLEST)
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise ValueError("must be a decimal string or a number")  # noqa: TRY004 - one kind of error to catch
    amount = Decimal(value)
    if not amount.is_finite() or not 0 <= amount < AMOUNT_LIMIT:
        raise ValueError("must be 0 or more and below 10^12")
    rounded = amount.quantize(_SMALLEST)
    if rounded != amount:
        raise ValueError(f"must have at most {DECIMALS_MAX} decimals")
    # JSON has a -0.0, which is 0.
    return abs(rounded)


def text(amount: Decimal) -> str:
    """The one way an amount is written: at least two decimals, and no others than needed ("2.50", "0.125")."""
    whole, _, decimals = format(amount, "f").partition(".")
    return f"{whole}.{decimals.rstrip('0'):0<2}"
