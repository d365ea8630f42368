"""CSV as people and their spreadsheets write it, imported into a real database."""

import codecs
import gzip
import json
import time

import pytest

from command.importing.csv_rows import TEMPLATES
from command.importing.files import ignored, misfit, read

HEADER = "order,at,customer,sku,quantity,unit_price\n"
AT = "2024-03-01T08:00:00Z"
ELSEWHERE = "behind other orders or in another file: sort it by order"
USERS = "id,name,email\nada,Ada,ada@example.org\n"
PRODUCTS = "sku,description,unit_price,min_initial_stock\ntea,Tea,4.50,10\nmilk,Milk,1,10\n"


def write(shop, name, content):
    path = shop.place / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.fixture
def stocked(shop):
    shop.load(write(shop, "users.csv", USERS), write(shop, "products.csv", PRODUCTS))
    return shop


def test_the_templates_make_a_shop_with_one_order(shop):
    paths = [write(shop, f"{kind}.csv", template) for kind, template in TEMPLATES.items()]
    assert [misfit(path) for path in paths] == [None, None, None]
    summary = shop.load(*paths)
    assert (summary.accepted, summary.refused.total()) == (4, 0)
    (data,) = shop.ask("SELECT data FROM log.events WHERE type = 'OrderPlaced'")[0]
    assert data["total"] == "23.60"
    assert [item["quantity"] for item in data["items"]] == [3, 1]


def test_rows_of_one_order_become_its_lines(stocked):
    content = HEADER + f"T1,{AT},ada,tea,2,4.50\nT1,{AT},ada,milk,1,1\nT2,{AT},ada,tea,1,4.50\n"
    summary = stocked.load(write(stocked, "orders.csv", content))
    assert summary.accepted == 2
    orders = stocked.ask(
        "SELECT data->>'external_id', data->>'total' FROM log.events WHERE type = 'OrderPlaced' ORDER BY position"
    )
    assert orders == [("T1", "10.00"), ("T2", "4.50")]


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["plain", "with byte order mark"])
@pytest.mark.parametrize("separator", ["", "sep=;\r\n"], ids=["", "with sep"])
def test_semicolons_decimal_commas_and_carriage_returns_of_a_spreadsheet_are_read(stocked, mark, separator):
    content = f"{separator}Order;At;Customer;SKU;Quantity;Unit_price\r\nT1;{AT};ada;tea;2;4,50\r\n;;;;;\r\n"
    summary = stocked.load(write(stocked, "orders.csv", mark + content.encode()))
    assert (summary.accepted, summary.total) == (1, 1)
    assert stocked.ask("SELECT data->>'total' FROM log.events WHERE type = 'OrderPlaced'") == [("9.00",)]


@pytest.mark.parametrize("first", ["sep=\n", "sep=\r\n", 'sep="\n', "SEP= \n", "sep=\0\n"])
def test_a_first_line_that_names_no_delimiter_leaves_it_to_the_header(shop, first):
    summary = shop.load(write(shop, "users.csv", f"{first}id;name\nada;Ada\n"))
    assert (summary.accepted, summary.total) == (1, 1)


@pytest.mark.parametrize("alone", ["sep=", "sep=\n", "sep=;"])
def test_a_file_of_a_delimiter_alone_has_no_header(shop, alone):
    assert "its first row must name the columns" in misfit(write(shop, "users.csv", alone))


def test_a_header_of_many_columns_is_read_in_little_time(shop):
    columns = ",".join(f"c{number}" for number in range(30_000))
    began = time.process_time()
    assert misfit(write(shop, "users.csv", f"id,name,{columns}\nada,Ada\n")) is None
    assert time.process_time() - began < 2


def test_a_cancellation_in_csv_names_all_that_is_left_or_nothing(stocked):
    columns = "kind,order,target,at,customer,sku,quantity,unit_price\n"
    placed = f"place_order,T1,,{AT},ada,tea,2,4.50\nplace_order,T1,,{AT},ada,milk,1,1\n"
    a_part = f"cancel_order,C1,T1,{AT},,tea,1,\n"
    without_pieces = f"cancel_order,C2,T1,{AT},,tea,,\n"
    whole = f"cancel_order,C3,T1,{AT},,tea,2,\ncancel_order,C3,T1,{AT},,milk,1,\n"
    path = write(stocked, "orders.csv", columns + placed + a_part + without_pieces + whole)
    assert stocked.load(path).accepted == 2
    assert [it["code"] for it in stocked.rejected] == ["quantity-not-cancellable", "validation-error"]


@pytest.mark.parametrize("kind", ["", "place_order", None])
def test_a_cancellation_that_has_lost_its_kind_places_no_order(stocked, kind):
    columns, cells = ("", "") if kind is None else ("kind,", f"{kind},")
    content = f"{columns}order,at,customer,target,sku,quantity,unit_price\n{cells}C1,{AT},ada,T1,tea,5,1\n"
    summary = stocked.load(write(stocked, "orders.csv", content))
    assert (summary.accepted, dict(summary.refused)) == (0, {"validation-error": 1})


@pytest.mark.parametrize("five", ["5.0", "5.00", "5.0000", " 5 ", "5,0"])
def test_a_whole_number_is_read_as_spreadsheets_and_dataframes_write_it(shop, five):
    products = f"sku;description;unit_price;min_initial_stock\n tea ; Tea;{five};{five}\n"
    orders = HEADER.replace(",", ";") + f"T1;{AT};ada;tea;{five};{five}\n"
    files = {"users.csv": USERS, "products.csv": products, "orders.csv": orders}
    assert shop.load(*[write(shop, name, content) for name, content in files.items()]).accepted == 3
    assert shop.ask("SELECT data->>'total' FROM log.events WHERE type = 'OrderPlaced'") == [("25.00",)]


@pytest.mark.parametrize(
    "pieces", ["5.5", "5.05", "5.", "5.000", "1e3", "NaN", "\N{ARABIC-INDIC DIGIT FIVE}", "5.0.0", "1 000", ".0"]
)
def test_a_quantity_that_is_not_a_whole_number_is_refused_with_its_row(stocked, pieces):
    stocked.load(write(stocked, "orders.csv", HEADER + f"T1,{AT},ada,milk,1,1\nT1,{AT},ada,tea,{pieces},4.50\n"))
    assert [it["detail"] for it in stocked.rejected] == ["row 3, column quantity: Input should be a valid integer"]


def test_a_cell_may_be_quoted_behind_a_blank(shop):
    shop.load(write(shop, "users.csv", '"ID", "Name", "Email"\nada, "Ada, Countess", "ada@example.org"\n'))
    assert shop.ask("SELECT data->>'name', data->>'email' FROM log.events") == [("Ada, Countess", "ada@example.org")]


def test_a_quoted_cell_may_have_delimiters_quotes_and_line_ends(shop):
    name = 'Tea, "the best"\nof all'
    quoted = name.replace('"', '""')
    path = write(shop, "products.csv", f'sku,description,unit_price,kind\ntea,"{quoted}",1,fee\nx,y,z,fee\n')
    shop.load(path)
    assert shop.ask("SELECT data->>'name' FROM log.events") == [(name,)]
    assert [(it["line"], it["detail"][:20]) for it in shop.rejected] == [(4, "column unit_price: m")]


def test_an_error_names_the_row_and_the_column(stocked):
    content = HEADER + f"T1,{AT},ada,tea,2,4.50\nT1,{AT},ada,milk,many,1\nT2,yesterday,ada,tea,1,1\n"
    stocked.load(write(stocked, "orders.csv", content))
    first, second = stocked.rejected
    assert first["line"] == 2
    assert first["detail"].startswith("row 3, column quantity: ")
    assert second["line"] == 4
    assert second["detail"].startswith("column at: ")


def test_rows_of_one_order_that_contradict_each_other_are_refused(stocked):
    content = HEADER + f"T1,{AT},ada,tea,2,4.50\nT1,{AT},bob,milk,1,1\n"
    stocked.load(write(stocked, "orders.csv", content))
    assert [it["detail"] for it in stocked.rejected] == [
        "Rows 2 and 3 are of one order, but differ in column customer."
    ]
    assert not stocked.ask("SELECT FROM log.events WHERE type = 'OrderPlaced'")


def test_a_row_with_more_cells_than_columns_is_refused(shop):
    shop.load(write(shop, "users.csv", "id,name\nada,Ada,Lovelace\nbob,Bob\n"))
    assert [(it["line"], it["detail"]) for it in shop.rejected] == [
        (2, "The row has 3 cells, and the header names 2 columns.")
    ]
    assert shop.events == 1


def test_a_thousand_and_one_rows_are_one_order_too_large(stocked):
    content = HEADER + f"T1,{AT},ada,tea,1,1\n" * 1_001 + f"T2,{AT},ada,tea,1,1\n"
    summary = stocked.load(write(stocked, "orders.csv", content))
    assert summary.accepted == 1
    assert [it["line"] for it in stocked.rejected] == [2]


def test_a_second_import_of_a_csv_file_appends_nothing(stocked):
    path = write(stocked, "orders.csv", HEADER + f"T1,{AT},ada,tea,2,4.50\nT2,{AT},ada,tea,99,4.50\n")
    stocked.load(path)
    events = stocked.events
    summary = stocked.load(path)
    assert stocked.events == events
    assert (summary.already_there, summary.refused.total()) == (1, 1)


def test_a_rejected_row_can_be_imported_again_as_json(stocked):
    stocked.load(write(stocked, "orders.csv", HEADER + f"T1,{AT},ada,tea,99,4.50\n"))
    row = stocked.rejected[0]["row"]
    row["lines"][0]["quantity"] = 1
    assert stocked.load(stocked.file("again.jsonl", row)).accepted == 1


def test_numbers_as_ids_are_taken_as_their_digits(shop):
    users = shop.file("users.jsonl", {"id": 17})
    products = shop.file("products.jsonl", {"sku": 4711, "description": "Tea", "unit_price": 1, "kind": "fee"})
    lines = [{"sku": 4711, "quantity": 1, "unit_price": 1}]
    order = {"kind": "place_order", "order": 1, "customer": 17, "at": AT, "lines": lines}
    orders = shop.file("orders.jsonl", order)
    assert shop.load(users, products, orders).accepted == 3
    assert shop.load(users, products, orders).already_there == 3


@pytest.mark.parametrize(
    "key",
    [
        *("1.23E+05", "4E+12", "1.23457E+15", "1.23457e+11", "1.23457E11"),
        *('"1,23457E+11"', "17.0", '"=""0017"""', '="0017"', "'0017"),
        *("1-Mar", "01-Dec", "Mar-24", "1. Mrz", "Mai 24"),
    ],
)
def test_a_key_that_a_spreadsheet_has_shortened_is_refused(stocked, key):
    """Two long numbers may have become the same text, and the second would be called already there."""
    product = f"sku,description,unit_price,min_initial_stock\n{key},Tea,1,5\n"
    order = HEADER + f"T1,{AT},{key},tea,1,1\n"
    assert stocked.load(write(stocked, "products.csv", product), write(stocked, "orders.csv", order)).accepted == 0
    assert [it["detail"].split(" is ")[0] for it in stocked.rejected] == ["Column sku", "Column customer"]


@pytest.mark.parametrize("key", ["1E5", "17.5", "17.00-A", "1e+x", "2.0.1", "1-mar", "MAR-24", "Mara 24", "A-1"])
def test_a_key_that_only_looks_like_a_number_is_taken(shop, key):
    assert shop.load(write(shop, "users.csv", f"id,name\n{key},Ada\n")).accepted == 1


def test_a_file_whose_orders_do_not_stand_together_is_refused_before_anything_is_imported(stocked):
    """A spreadsheet has sorted it by SKU: the later lines of an order would be called already there."""
    rows = f"T1,{AT},ada,milk,1,1\nT2,{AT},ada,milk,1,1\nT1,{AT},ada,tea,2,4.50\n"
    path = write(stocked, "orders.csv", HEADER + rows)
    assert misfit(path) == f"{path} cannot be read: order 'T1' goes on in row 4, {ELSEWHERE}"
    twice = HEADER + rows.replace("T1", "T3", 1) + rows.splitlines()[1] + "\n"  # as two exports that overlap
    path = write(stocked, "orders.csv", twice)
    assert misfit(path) is None
    assert stocked.load(path).already_there == 1


def test_parts_that_were_cut_in_the_middle_of_an_order_are_refused(stocked):
    """The rest of the order would be called already there. Parts that overlap do no harm."""
    first = write(stocked, "orders-1.csv", HEADER + f"T1,{AT},ada,tea,2,4.50\nT2,{AT},ada,tea,1,4.50\n")
    cut = write(stocked, "orders-2.csv", HEADER + f"T2,{AT},ada,milk,1,1\nT3,{AT},ada,milk,1,1\n")
    seen: dict[int, int] = {}
    assert misfit(first, seen) is None
    assert misfit(cut, seen) == f"{cut} cannot be read: order 'T2' goes on in row 2, {ELSEWHERE}"
    overlap = write(stocked, "orders-3.csv", HEADER + f"T2,{AT},ada,tea,1,4.50\nT4,{AT},ada,milk,1,1\n")
    assert misfit(overlap, seen) is None


def test_a_row_at_which_the_file_is_cut_off_is_refused(stocked):
    """The user would be called Ada Lo for good: with the whole file he is already there."""
    users = write(stocked, "users.csv", "id,name,email\nu1,Ada\nu2,Bob,bob@x.example\nu3,Ada Lo")
    orders = write(stocked, "orders.csv", HEADER + f"T1,{AT},ada,tea,2,4.50\nT2,{AT},ada,tea,1,4.50\nT2,{AT},ada,milk")
    summary = stocked.load(users, orders)
    assert (summary.accepted, summary.refused.total()) == (3, 2)
    assert [it["detail"] for it in stocked.rejected] == [
        f"The row has {cells} cells and no line end: the file is cut off." for cells in ("2 of 3", "4 of 6")
    ]
    assert stocked.load(write(stocked, "users.csv", "id,name,email\nu4,Dan,d@x.example")).accepted == 1


def test_the_rest_of_an_order_is_no_order_that_is_already_there(stocked):
    """Parts of a file that was cut in the middle of an order, imported one by one."""
    first = write(stocked, "orders-1.csv", HEADER + f"T1,{AT},ada,tea,2,4.50\nT2,{AT},ada,tea,1,4.50\n")
    second = write(stocked, "orders-2.csv", HEADER + f"T2,{AT},ada,milk,1,1\nT3,{AT},ada,milk,1,1\n")
    stocked.load(first)
    for accepted in (1, 0):
        assert (stocked.load(second).accepted, stocked.codes) == (accepted, [(2, "differs")])
    assert "number T2 is there, and differs in lines:" in stocked.rejected[0]["detail"]
    assert stocked.load(first).already_there == 2


def test_an_order_whose_later_rows_do_not_name_it_is_refused_before_anything_is_imported(stocked):
    """Of merged cells the first row alone has the value: the order would get its first line and no other."""
    path = write(stocked, "orders.csv", HEADER + f"T1,{AT},ada,tea,2,4.50\n,,,milk,1,1\n")
    assert "row 3 has a line of an order, and no order" in misfit(path)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_a_price_that_might_be_thousands_is_refused_beside_decimal_commas(shop, delimiter):
    rows = ["sku,description,unit_price,min_initial_stock", "a,A,1.299,1", "b,B,0.125,1", "c,C,1.2990,1", "d,D,1.25,1"]
    path = write(shop, "products.csv", "\n".join(row.replace(",", delimiter) for row in rows))
    assert shop.load(path).accepted == 3
    assert [it["detail"].partition(",")[0] for it in shop.rejected] == ["Column unit_price is 1.299"]


@pytest.mark.parametrize(
    ("content", "refused"),
    [
        ("id,name\nada,Ada\n(1 row)\n", 1),
        ("id,name\n---,----\nada,Ada\n\n(1 rows affected)\n", 2),
        ("ID,Name\nada,Ada\nID,Name\n", 0),
    ],
    ids=["psql", "sqlcmd", "two files in one"],
)
def test_an_import_makes_no_row_of_the_lines_that_tools_write_around_rows(shop, content, refused):
    summary = shop.load(write(shop, "users.csv", content))
    assert (summary.accepted, summary.refused.total()) == (1, refused)


@pytest.mark.parametrize(
    "lost",
    ["NA", "<NA>", "NaT", "#DIV/0!", "#NULL!", "NULL", "\\N", "nan", "None", "#N/A", "undefined", "(null)", "<NIL>"],
)
def test_rows_that_have_lost_their_keys_do_not_become_one(stocked, lost):
    users = f"id,name\n{lost},Bob\n{lost},Eve\n"
    products = f"sku,description,unit_price,min_initial_stock,kind\n{lost},Cup,1,5,\nmug,Mug,1,5,{lost}\n"
    orders = f"{lost},{AT},ada,tea,1,1\n{lost},{AT},ada,milk,1,1\nT1,{AT},{lost},tea,1,1\nT2,{AT},ada,{lost},1,1\n"
    paths = [write(stocked, "users.csv", users), write(stocked, "products.csv", products)]
    assert stocked.load(*paths, write(stocked, "orders.csv", HEADER + orders)).accepted == 0
    assert [it["detail"].split(":")[0] for it in stocked.rejected] == [
        *["column id"] * 2,
        *["column sku", "column kind"],
        *["column order", "column customer", "row 5, column sku"],
    ]


def test_a_comma_stays_in_a_text(shop):
    products = "sku;description;unit_price;min_initial_stock\n10,5;7,20;7,20;5,0\n"
    assert shop.load(write(shop, "products.csv", products)).accepted == 1
    (data,) = shop.ask("SELECT data FROM log.events WHERE type = 'ProductAdded'")[0]
    assert (data["sku"], data["name"], data["price"]) == ("10,5", "7,20", "7.20")


@pytest.mark.parametrize(("kind", "accepted"), [("", 0), (" ", 0), ("null", 0), ("Product", 1), (" PRODUCT", 1)])
def test_a_lost_or_capitalised_kind_does_not_make_an_endless_stock(shop, kind, accepted):
    product = {"sku": "tea", "description": "Tea", "unit_price": 1, "kind": kind, "min_initial_stock": 5}
    assert shop.load(shop.file("products.jsonl", product)).accepted == accepted
    kept = shop.ask("SELECT data->>'stock_kept' FROM log.events WHERE type = 'ProductAdded'")
    assert kept == [("true",)] * accepted


def test_a_compressed_csv_file_is_read(shop):
    assert shop.load(write(shop, "users.csv.gz", gzip.compress(USERS.encode()))).accepted == 1


@pytest.mark.parametrize("content", [b"id,name\nada,\xff\n", b'id,name\nada,"never closed\n'])
def test_a_damaged_csv_file_is_named(shop, content):
    summary = shop.load(write(shop, "users.csv", content))
    assert len(summary.damaged) == 1
    assert [it["code"] for it in shop.rejected] == ["damaged-file"]


def test_a_quote_that_is_never_closed_is_found_in_its_row(shop):
    shop.load(write(shop, "users.csv", 'id,name\nada,"Ada,\nCountess"\nbob,"never closed\neve,Eve\n'))
    assert [(it["line"], it["code"]) for it in shop.rejected] == [(4, "damaged-file")]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("rows.jsonl", json.dumps([{"id": 1}, {"id": 2}]).encode(), "is one JSON array: write one object a line"),
        ("rows.jsonl", b'[\n  {"id": 1}\n]', "is one JSON array"),
        ("rows.jsonl", b"[1]\n", "has no JSON objects"),
        ("rows.jsonl", '{"id": "a"}\n'.encode("utf-16"), "is UTF-16: save it as UTF-8"),
        ("users.csv", "id\na\n".encode("utf-16-le").join([codecs.BOM_UTF16_LE, b""]), "is UTF-16"),
        ("users.csv", b"PK\x03\x04rest", "is a workbook or a zip archive: save it as CSV UTF-8"),
        ("users.csv", b"Ada;ada@example.org\n", "its first row must name the columns"),
        ("users.csv", "id,name\nada,J\xfcrgen\n".encode("latin-1"), "is not UTF-8 at byte 14: save it as CSV UTF-8"),
        (
            "orders.csv",
            b"order,date,customer,sku,qty,unit_price\n",
            "its first row lacks at, quantity; see orders import",
        ),
        ("orders.csv", b"order;kind;target\n", "its first row lacks at;"),
        ("products.csv", b"sku,name,price\n", "its first row lacks description, unit_price;"),
        ("users.csv", b"id,name\rada,Ada\r", "ends its lines with carriage returns alone: save it as CSV UTF-8"),
        ("users.csv", b"id,Name,name\n", "its first row names name twice"),
        ("users.csv", b"", "its first row must name the columns"),
    ],
)
def test_a_file_of_another_format_is_refused_in_one_line(shop, name, content, says):
    reason = misfit(write(shop, name, content))
    assert reason
    assert says in reason
    assert "\n" not in reason


def test_a_file_that_fits_is_not_refused(shop):
    for name, content in (
        ("a.jsonl", b'{"id": "a"}\n'),
        ("b.jsonl", b""),
        ("c.csv", b"id\n"),
        ("d.jsonl", b'[1]\n{"id": "a"}\n'),
    ):
        assert misfit(write(shop, name, content)) is None


def test_columns_without_a_use_are_named(shop):
    path = write(shop, "users.csv", "ID;mail;Name;First_seen;;Colour\n")
    assert (misfit(path), ignored(path)) == (None, ["mail", "colour"])
    path = write(shop, "users.csv", "id,,email,,\nada,Ada,ada@example.org,,\n")
    assert (misfit(path), ignored(path)) == (None, ["2 (without a name)"])
    for kind, template in TEMPLATES.items():
        assert ignored(write(shop, f"{kind}.csv", template)) == []
    assert ignored(write(shop, "orders.csv", "order,kind,at,target,currency\n")) == []


@pytest.mark.parametrize("columns", [1_000, 10_000])
def test_a_first_row_with_very_many_columns_is_read(shop, columns):
    more = [f"meta:_column_{number}" for number in range(columns)]
    path = write(shop, "users.csv", f"id,name,{','.join(more)}\nada,Ada{',' * columns}\n")
    assert (misfit(path), ignored(path)) == (None, more)
    assert shop.load(path).accepted == 1


def test_a_first_row_that_never_ends_is_damage(shop):
    path = write(shop, "users.csv", "id,name" + ",column" * 200_000)
    assert misfit(path) is None
    shop.load(path)
    assert [it["code"] for it in shop.rejected] == ["damaged-file"]


def test_line_numbers_are_those_of_the_file(shop):
    path = write(shop, "users.csv", 'sep=,\nid,name\n\nada,"A\nda"\nbob,Bob\n')
    assert [line.number for line in read(path)] == [4, 6]
