import asyncio
from datetime import UTC, datetime, timedelta, timezone

import pytest
from psycopg import Connection

from eventlog import append, arrays
from eventlog.arrays import Array

TEXTS = ["", " ", "a", "NULL", '"', "\\", "{}", ",", "\t\n\r", "Zoë 東京 🧾", "x" * 100_000]


def back(connection: Connection, array: Array, type_name: str) -> object:
    """What PostgreSQL makes of it, told by its own output."""
    row = connection.execute("SELECT pg_typeof(it)::text, it FROM (SELECT %b AS it) AS sent", (array,)).fetchone()
    assert row is not None
    assert row[0] == f"{type_name}[]"
    return row[1]


def test_texts_come_back(connection: Connection) -> None:
    assert back(connection, arrays.of_text(TEXTS), "text") == TEXTS
    assert back(connection, arrays.of_text(iter(TEXTS)), "text") == TEXTS


@pytest.mark.parametrize(
    ("element", "type_name", "items"),
    [
        (arrays.INT2, "smallint", [0, 1, -1, 2**15 - 1, -(2**15)]),
        (arrays.INT4, "integer", [0, 1, -1, 2**31 - 1, -(2**31)]),
        (arrays.INT8, "bigint", [0, 1, -1, 2**63 - 1, -(2**63)]),
    ],
)
def test_integers_come_back(connection: Connection, element: int, type_name: str, items: list[int]) -> None:
    assert back(connection, arrays.of_integers(element, items), type_name) == items


def test_bytes_come_back(connection: Connection) -> None:
    items = [b"", b"\x00\xff", bytes(range(256)), b"x" * 1_000_000]
    assert back(connection, arrays.of_bytes(arrays.BYTEA, items), "bytea") == items


def test_json_is_stored_as_it_was_written(connection: Connection) -> None:
    items = [b"{}", b'{"a": 1.50,"a":2}', '{"ë":"\\u0000 東"}'.encode()]
    row = connection.execute("SELECT %b::text[]", (arrays.of_bytes(arrays.JSON, items),)).fetchone()
    assert row == ([item.decode() for item in items],)


@pytest.mark.parametrize(
    "time",
    [
        datetime(2000, 1, 1, tzinfo=UTC),
        datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        datetime(2026, 3, 29, 2, 30, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    ],
)
def test_times_come_back_to_the_microsecond(connection: Connection, time: datetime) -> None:
    assert back(connection, arrays.of_times([time, time]), "timestamp with time zone") == [time, time]


@pytest.mark.parametrize(
    ("array", "type_name"),
    [
        (arrays.of_text([]), "text"),
        (arrays.of_bytes(arrays.BYTEA, []), "bytea"),
        (arrays.of_integers(arrays.INT4, []), "integer"),
        (arrays.of_times([]), "timestamp with time zone"),
    ],
)
def test_an_empty_array_is_one(connection: Connection, array: Array, type_name: str) -> None:
    assert back(connection, array, type_name) == []


def test_many_items_come_back(connection: Connection) -> None:
    items = list(range(100_000))
    assert back(connection, arrays.of_integers(arrays.INT8, items), "bigint") == items


def test_what_does_not_fit_is_refused_here() -> None:
    with pytest.raises(Exception, match="format requires"):
        arrays.of_integers(arrays.INT2, [2**15])


def test_the_connection_that_appends_takes_them(database_url: str) -> None:
    async def sent() -> object:
        async with await append.connect(database_url) as connection:
            cursor = await connection.execute("SELECT %b", (arrays.of_text(TEXTS),))
            return await cursor.fetchone()

    assert asyncio.run(sent()) == (TEXTS,)
