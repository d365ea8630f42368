import itertools
from typing import Any

import psycopg
import pytest
from psycopg import Connection

from eventlog.ids import new_id
from projector.projections.shop import SHOP
from projector.rows import RowMissing, Rows
from readmodel.shop import Order, OrderItem, Product, User

AT = "2026-01-02 03:04:05.678901+00"
LATER = "2026-01-02 03:04:06+00"

ODD_TEXTS = [
    "",
    " ",
    "trailing ",
    "a\tb",
    "a\nb",
    "a\r\nb",
    "\\",
    "\\N",
    "\\.",
    "\\t",
    "a\\",
    "NULL",
    "null",
    '"quoted"',
    '"',
    '\\"',
    '"\\',
    "\\\\n",
    "a],[b",
    '"],["',
    '\\"],["\\',
    "a\n\\.\nb",
    "\b\f",
    "it's",
    "{1,2}",
    ",",
    "{}",
    "\x01",
    "\x02",
    "\x02\x02",
    "\\\x02",
    "\t\x02\n",
    "\x7f\x85\u2028",
    "Zoë 東京 🧾",
    "e\u0301",
    "\ufeff",
    "%s %b $1",
    "x" * 100_000,
]


def user(user_id: str, **columns: Any) -> dict[str, Any]:
    row = {"id": user_id, "external_id": None, "name": "Ada", "email": "ada@example.org"}
    row |= {"email_key": "ada@example.org", "version": 1}
    return row | {"created_at": AT, "updated_at": AT, "deleted_at": None} | columns


def product(product_id: str, **columns: Any) -> dict[str, Any]:
    row = {"id": product_id, "sku": "CUP", "name": "Cup", "price": "2.50", "currency": "EUR", "stock": 7}
    return row | {"discontinued": False, "version": 1, "created_at": AT, "updated_at": AT} | columns


def write(connection: Connection, rows: Rows) -> None:
    with connection.transaction():
        rows.write(connection, "shop")


def read(connection: Connection, table: str, columns: str, row_id: str) -> tuple[Any, ...] | None:
    return connection.execute(f"SELECT {columns} FROM shop.{table} WHERE id = %s".encode(), (row_id,)).fetchone()


@pytest.mark.parametrize("together", [1, 2, len(ODD_TEXTS)])
@pytest.mark.parametrize("column", ["name", "external_id"])
def test_new_rows_keep_every_text(connection: Connection, column: str, together: int) -> None:
    """Also beside others: rows that go out together are looked at together."""
    rows = Rows(SHOP.tables)
    ids = {new_id(): text for text in ODD_TEXTS}
    for number, (user_id, text) in enumerate(ids.items(), 1):
        rows.insert(User, user(user_id, **{column: text}))
        if number % together == 0:
            write(connection, rows)
    write(connection, rows)
    stored = connection.execute(f"SELECT id::text, {column} FROM shop.users".encode()).fetchall()
    assert dict(stored) == ids


def test_changed_rows_keep_every_text(connection: Connection) -> None:
    rows = Rows(SHOP.tables)
    ids = {new_id(): text for text in ODD_TEXTS}
    for user_id in ids:
        rows.insert(User, user(user_id))
    write(connection, rows)
    for user_id, text in ids.items():
        rows.set(User, user_id, {"version": 2, "name": text})
    write(connection, rows)
    assert dict(connection.execute("SELECT id::text, name FROM shop.users").fetchall()) == ids


@pytest.mark.parametrize("others", [[], ["\\N"], ["\x02"], ["a\tb", None]])
def test_null_is_no_text(connection: Connection, others: list[str | None]) -> None:
    texts = dict(zip([new_id() for _ in range(len(others) + 1)], [None, *others], strict=True))
    rows = Rows(SHOP.tables)
    for user_id, text in texts.items():
        rows.insert(User, user(user_id, external_id=text))
    write(connection, rows)
    assert dict(connection.execute("SELECT id::text, external_id FROM shop.users").fetchall()) == texts


def test_a_column_is_set_to_null_and_back(connection: Connection) -> None:
    first, second = new_id(), new_id()
    rows = Rows(SHOP.tables)
    rows.insert(Product, product(first, stock=None))
    rows.insert(Product, product(second))
    write(connection, rows)
    rows.set(Product, first, {"stock": 3})
    rows.set(Product, second, {"stock": None})
    write(connection, rows)
    assert read(connection, "products", "stock", first) == (3,)
    assert read(connection, "products", "stock", second) == (None,)


def test_values_keep_their_types_and_decimals(connection: Connection) -> None:
    first = new_id()
    rows = Rows(SHOP.tables)
    rows.insert(Product, product(first, price="0.125", stock=10**12))
    write(connection, rows)
    columns = "price::text, stock, discontinued, updated_at::text"
    assert read(connection, "products", columns, first) == ("0.125", 10**12, False, AT)
    rows.set(Product, first, {"price": "2.50", "stock": 0, "discontinued": True, "updated_at": LATER})
    write(connection, rows)
    assert read(connection, "products", columns, first) == ("2.50", 0, True, LATER)


def test_changes_of_a_row_come_to_one_whatever_their_order(connection: Connection) -> None:
    """The last value of each column counts, whether the row is new, old, or both within a batch."""
    changes = [{"name": "A", "version": 2}, {"version": 3}, {"name": "B"}, {"stock": 1}, {"stock": 2, "name": "C"}]
    for order, is_new in itertools.product(itertools.permutations(changes), (True, False)):
        rows = Rows(SHOP.tables)
        key = "k"
        if is_new:
            rows.insert(Product, product(key))
        for change in order:
            rows.set(Product, key, change)
        expected: dict[str, Any] = product(key) if is_new else {}
        for change in order:
            expected |= change
        kept = rows.of(Product).inserted if is_new else rows.of(Product).changed
        assert kept == {key: expected}


def test_rows_with_different_columns_changed_are_all_written(connection: Connection) -> None:
    ids = [new_id() for _ in range(6)]
    rows = Rows(SHOP.tables)
    for product_id in ids:
        rows.insert(Product, product(product_id))
    write(connection, rows)
    for number, product_id in enumerate(ids):
        rows.set(Product, product_id, {"stock": number} if number % 2 else {"name": f"n{number}", "version": 2})
    write(connection, rows)
    stored = [read(connection, "products", "stock, name, version", product_id) for product_id in ids]
    assert stored == [(it, "Cup", 1) if it % 2 else (7, f"n{it}", 2) for it in range(6)]


def test_rows_of_all_tables_are_written_in_the_order_of_foreign_keys(connection: Connection) -> None:
    user_id, product_id, order_id = new_id(), new_id(), new_id()
    item = {"order_id": order_id, "line": 1, "product_id": product_id, "sku": "CUP", "name": "Cup", "quantity": 3}
    order = {"id": order_id, "external_id": None, "user_id": user_id, "status": "placed", "currency": "EUR"}
    rows = Rows(SHOP.tables)
    rows.insert(OrderItem, item | {"cancelled_quantity": 0, "unit_price": "2.50", "amount": "7.50", "placed_at": AT})
    money = {"total": "7.50", "cancelled_total": "0.00", "note": None, "cancel_reason": None}
    times = {"placed_at": AT, "cancelled_at": None, "line_count": 1, "version": 1, "updated_at": AT}
    rows.insert(Order, order | money | times)
    rows.insert(Product, product(product_id))
    rows.insert(User, user(user_id))
    rows.set(OrderItem, (order_id, 1), {"cancelled_quantity": 1})
    write(connection, rows)

    # By a key of two columns.
    rows.set(OrderItem, (order_id, 1), {"cancelled_quantity": 2})
    write(connection, rows)
    assert connection.execute("SELECT line, cancelled_quantity FROM shop.order_items").fetchall() == [(1, 2)]


def test_many_rows_go_out_in_one_batch(connection: Connection) -> None:
    ids = [new_id() for _ in range(2_501)]
    rows = Rows(SHOP.tables)
    for number, product_id in enumerate(ids):
        rows.insert(Product, product(product_id, name=f"a\t{number}"))
    write(connection, rows)
    for number, product_id in enumerate(ids):
        rows.set(Product, product_id, {"stock": number})
    write(connection, rows)
    stored = connection.execute("SELECT id::text, name, stock FROM shop.products").fetchall()
    assert sorted(stored) == sorted((each, f"a\t{number}", number) for number, each in enumerate(ids))


def test_written_changes_are_forgotten(connection: Connection) -> None:
    first = new_id()
    rows = Rows(SHOP.tables)
    rows.insert(Product, product(first))
    rows.set(Product, first, {"stock": 1})
    write(connection, rows)
    write(connection, rows)  # a second INSERT of the row would be refused
    assert connection.execute("SELECT count(*) FROM shop.products").fetchone() == (1,)


def test_a_change_to_a_row_that_is_not_there_is_refused(connection: Connection) -> None:
    first = new_id()
    rows = Rows(SHOP.tables)
    rows.insert(Product, product(first))
    rows.set(Product, new_id(), {"stock": 1})
    with pytest.raises(RowMissing, match="1 of the rows to change are not in products"):
        write(connection, rows)


def test_a_row_that_breaks_a_rule_is_refused(connection: Connection) -> None:
    first = new_id()
    rows = Rows(SHOP.tables)
    rows.insert(Product, product(first, stock=-1))
    with pytest.raises(psycopg.errors.CheckViolation):
        write(connection, rows)
