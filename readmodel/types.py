"""The column types that other databases store otherwise than PostgreSQL, so that the same classes read all of them.

SQLite and MySQL store an id as its text of 36 characters, and a time in UTC with microseconds. Money is exact: DECIMAL
in MySQL, and an integer that counts ten-thousandths in SQLite.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import CHAR, DateTime, Dialect, Integer, Numeric, Text, Uuid
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeDecorator, TypeEngine

# Amounts have at most so many decimals.
MONEY_DECIMALS = 4
MONEY_DIGITS = 38
_SMALLEST = Decimal(1).scaleb(-MONEY_DECIMALS)
_CENT = Decimal("0.01")

_TIME_FORMAT = "%Y-%m-%d %H:%M:%S.%f"


def amount(value: Decimal) -> Decimal:
    """An amount with two decimals, or with more if it has more: 2.5000 is 2.50."""
    cents = value.quantize(_CENT)
    return cents if cents == value else value.normalize()


class _TextId(TypeDecorator[UUID]):
    impl = CHAR(36)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else CHAR(36))

    def process_bind_param(self, value: UUID | str | None, dialect: Dialect) -> str | None:
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> UUID | None:
        return None if value is None else UUID(value)


class _CountedMoney(TypeDecorator[Decimal]):
    impl = Integer
    cache_ok = True

    def process_bind_param(self, value: Decimal | str | int | None, dialect: Dialect) -> int | None:
        return None if value is None else int(Decimal(value).scaleb(MONEY_DECIMALS))

    def process_result_value(self, value: int | None, dialect: Dialect) -> Decimal | None:
        return None if value is None else amount(Decimal(value).scaleb(-MONEY_DECIMALS))


class _DecimalMoney(TypeDecorator[Decimal]):
    impl = mysql.DECIMAL(MONEY_DIGITS, MONEY_DECIMALS)
    cache_ok = True

    def process_result_value(self, value: Decimal | None, dialect: Dialect) -> Decimal | None:
        return None if value is None else amount(value)


class _UtcTime(TypeDecorator[datetime]):
    """A time in UTC with microseconds, without a zone. SQLite has it as text, which sorts as time does."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else mysql.DATETIME(fsp=6))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        return None if value is None else value.astimezone(UTC).strftime(_TIME_FORMAT)

    def process_result_value(self, value: str | datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        time = datetime.fromisoformat(value) if isinstance(value, str) else value
        return time.replace(tzinfo=UTC)


_MYSQL = ("mysql", "mariadb")

ID = Uuid().with_variant(_TextId(), "sqlite", *_MYSQL)
MONEY = Numeric().with_variant(_CountedMoney(), "sqlite").with_variant(_DecimalMoney(), *_MYSQL)
TIME = DateTime(timezone=True).with_variant(_UtcTime(), "sqlite", *_MYSQL)
