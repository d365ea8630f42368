"""CSV files as rows: a header names the columns, and consecutive rows of one order become one place_order.

Reads what spreadsheets write (RFC 4180 with `,`, `;` or tabs; a first line `sep=;`; UTF-8 with or without a byte order
mark), and makes the JSON objects that a file of JSON lines would have.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import groupby, islice

import msgspec

from command.fields import LINES_MAX
from command.importing.line import Line, Reason
from command.importing.rows import CancelOrderRow, OrderedLine, PlaceOrderRow, ProductRow, UserRow

# Columns of an order's line; the other columns of its rows belong to the order.
LINE_COLUMNS = ("sku", "quantity", "unit_price")
NUMBERS = frozenset({"quantity", "min_initial_stock"})
KEYS = frozenset({"id", "sku", "order"})
_KEYS_AND_REFERENCES = KEYS | {"customer", "target"}
KNOWN = frozenset({"kind"}).union(
    *(row.model_fields for row in (UserRow, ProductRow, PlaceOrderRow, OrderedLine, CancelOrderRow))
) - {"lines"}
DELIMITERS = (",", ";", "\t")

TEMPLATES = {
    "users": "id,name,email\nada,Ada Lovelace,ada@example.org\n",
    "products": "sku,description,unit_price,currency,min_initial_stock,kind\n"
    'tea,"Assam, 250 g",7.20,EUR,10,product\nPOST,Postage,2.00,EUR,,postage\n',
    "orders": "order,at,customer,sku,quantity,unit_price\n"
    "T1,2024-02-01T08:26:00Z,ada,tea,3,7.20\nT1,2024-02-01T08:26:00Z,ada,POST,1,2.00\n",
}

_DECIMAL_COMMA = re.compile(r"\d+,(\d{1,2}|\d{4})", re.ASCII)
_THOUSANDS = re.compile(r"[1-9]\d{0,2}\.\d{3}", re.ASCII)
_MONTH = "(?-i:Jan|Feb|Mar|Mrz|Apr|May|Mai|Jun|Jul|Aug|Sep|Oct|Okt|Nov|Dec|Dez)"
# What programs make of a number as a key: of a long one, where another has become the same text; of one in a column of
# decimals; of one whose zeros a formula or an apostrophe protects; of one that might be a date. And what the tools of
# databases write around the rows.
_REWRITTEN = re.compile(
    r"\d(?:[.,]\d+E\+?|E\+)\d\d+|\d+\.0|=.*|'\d+"
    rf"|\d\d?(?:-|\. ){_MONTH}|{_MONTH}[- ]\d\d|-+|\(\d+ \w+(?: \w+)?\)",
    re.ASCII | re.IGNORECASE,
)
# Programs that know only one type of numbers write 5 as 5.0. But 5.000 might be five thousand.
_WHOLE = re.compile(r"(-?\d{1,15})(?:\.(?:0{1,2}|0{4,}))?", re.ASCII)
_LINE_POINTER = re.compile(r"/lines/(\d+)/?(\w*)")
_POINTER = re.compile(r"(?:^|(?<=; ))/(\w+)")

Cells = dict[str, str]
# A row's line number in the file, its cells that are not empty, and what is wrong with it.
Row = tuple[int, Cells, Reason | None]


class NoHeader(Exception):
    """The first row does not name the columns that every row needs."""


class UnreadableRow(csv.Error):
    """The file is no CSV from the row on that begins on line `number`."""

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(reason)
        self.number = number


def rows(text: Iterable[str]) -> Iterator[Line]:
    """The rows of a CSV file, from its lines of text. Blank rows are left out. Raises NoHeader and csv.Error."""
    lines = iter(text)
    header, delimiter, skipped = _header(lines)
    _check(header)
    numbered = _cells(lines, header, delimiter, skipped)
    if "order" not in header:
        for number, cells, fault in numbered:
            yield Line(number, msgspec.json.encode(_members(cells)), fault, (number,))
        return
    for _, group in groupby(numbered, key=lambda row: (row[1].get("kind"), row[1].get("order"))):
        yield _order(group)


def ignored(text: Iterable[str]) -> list[str]:
    """The columns that no row has a use for, from the beginning of a file. Raises csv.Error."""
    lines = iter(text)
    header, delimiter, _ = _header(lines)
    filled = {at for row in csv.reader(lines, delimiter=delimiter) for at, it in enumerate(row) if it.strip()}
    nameless = [f"{at + 1} (without a name)" for at, name in enumerate(header) if not name and at in filled]
    return [name for name in header if name and name not in KNOWN] + nameless


def scattered(text: Iterable[str], seen: dict[int, int]) -> str | None:
    """The first order whose rows do not all follow each other, or name it; None if there is none.

    `seen` are the orders of the files before, and gets those of this one. An order that stands twice as it is does no
    harm. Raises NoHeader, csv.Error.
    """
    for line in rows(text):
        row = msgspec.json.decode(line.content)
        if order := row.get("order"):
            content = hash(line.content)
            if seen.setdefault(hash((row.get("kind"), order)), content) != content:
                where = "behind other orders or in another file"
                return f"order {order[:100]!r} goes on in row {line.number}, {where}: sort it by order"
        elif any(row.get("lines", ())):
            return f"row {line.number} has a line of an order, and no order: each row names its order"
    return None


def columns_named(detail: str, line: Line) -> str:
    """`detail` with rows and columns of the file in place of JSON pointers."""

    def of_line(found: re.Match[str]) -> str:
        number = int(found[1])
        row = line.rows[number] if number < len(line.rows) else line.number
        return f"row {row}, column {found[2]}" if found[2] else f"row {row}"

    return _POINTER.sub(r"column \1", _LINE_POINTER.sub(of_line, detail))


def _header(lines: Iterator[str]) -> tuple[list[str], str, int]:
    """The names of the columns, the delimiter, and how many lines they take."""
    first = next(lines, "").removeprefix("\ufeff")
    skipped = 1
    delimiter = ""  # a first line may name none, or a character that cannot be one
    if first.lower().startswith("sep="):
        delimiter = first[4:5].strip('\r\n"\0 ')
        first = next(lines, "")
        skipped = 2
    delimiter = delimiter or max(DELIMITERS, key=first.count)
    names = next(csv.reader([first], delimiter=delimiter, skipinitialspace=True), [])
    return [name.strip().lower() for name in names], delimiter, skipped


def _check(header: list[str]) -> None:
    """Raise NoHeader for a first row that is none, or that lacks a column without which all rows would be refused."""
    names = set(header)
    if not KEYS & names:
        raise NoHeader(f"its first row must name the columns; it has none of {', '.join(sorted(KEYS))}")
    needed: tuple[str, ...] = ()
    if "order" in names:
        needed = ("at",) if "target" in names else ("at", "customer", *LINE_COLUMNS)
    elif "sku" in names:
        needed = ("description", "unit_price")
    if lacking := [name for name in needed if name not in names]:
        raise NoHeader(f"its first row lacks {', '.join(lacking)}")
    if twice := sorted(name for name, times in Counter(header).items() if name and times > 1):
        raise NoHeader(f"its first row names {twice[0]} twice")


def _cells(lines: Iterator[str], header: list[str], delimiter: str, skipped: int) -> Iterator[Row]:
    line = ""
    reader = csv.reader(((line := it) for it in lines), delimiter=delimiter, skipinitialspace=True, strict=True)
    number = skipped + 1
    try:
        for values in reader:
            stripped = [value.strip() for value in values]
            cells = {name: _decimal(name, it, delimiter) for name, it in zip(header, stripped, strict=False) if it}
            rewritten = [it for it in _KEYS_AND_REFERENCES & cells.keys() if _REWRITTEN.fullmatch(cells[it])]
            fault = None
            if len(values) > len(header):
                fault = _fault(f"The row has {len(values)} cells, and the header names {len(header)} columns.")
            elif len(values) < len(header) and not line.endswith("\n"):
                few = f"{len(values)} of {len(header)} cells"
                fault = _fault(f"The row has {few} and no line end: the file is cut off.")
            elif rewritten:
                said = cells[rewritten[0]][:100]
                fault = _fault(f"Column {rewritten[0]} is {said}, which a program has made of it: export it as text.")
            elif delimiter != "," and _THOUSANDS.fullmatch(price := cells.get("unit_price", "")):
                fault = _fault(f"Column unit_price is {price}, which might be thousands: write 2 or 4 decimals.")
            if cells and [it.lower() for it in stripped] != header:
                yield number, cells, fault
            number = skipped + reader.line_num + 1
    except csv.Error as error:
        raise UnreadableRow(number, str(error)) from None


def _decimal(name: str, value: str, delimiter: str) -> str:
    """A number with a decimal comma, in JSON's way. Three digits behind it might be thousands: left as they are."""
    has_comma = delimiter != "," and (name in NUMBERS or name == "unit_price") and _DECIMAL_COMMA.fullmatch(value)
    return value.replace(",", ".") if has_comma else value


def _members(cells: Cells) -> dict[str, str | int]:
    return {
        name: int(whole[1]) if name in NUMBERS and (whole := _WHOLE.fullmatch(it)) else it for name, it in cells.items()
    }


def _order(group: Iterable[Row]) -> Line:
    """One order from the rows of its lines; one row too many is kept, so that the limit of lines is noticed."""
    taken = list(islice(group, LINES_MAX + 1))
    number, first, _ = taken[0]
    members: dict[str, object] = {"kind": "place_order"}
    members |= _members({name: value for name, value in first.items() if name not in LINE_COLUMNS})
    lines = [_members({name: it[name] for name in LINE_COLUMNS if name in it}) for _, it, _ in taken]
    if members["kind"] == "place_order" or any(lines):
        members["lines"] = lines
    fault = next((fault for _, _, fault in taken if fault), None) or _difference(taken)
    return Line(number, msgspec.json.encode(members), fault, tuple(row for row, _, _ in taken))


def _fault(detail: str) -> Reason:
    return Reason("validation-error", detail)


def _difference(taken: list[Row]) -> Reason | None:
    number, first, _ = taken[0]
    for other, cells, _ in taken[1:]:
        for name in (first.keys() | cells.keys()) - set(LINE_COLUMNS):
            if first.get(name) != cells.get(name):
                return _fault(f"Rows {number} and {other} are of one order, but differ in column {name}.")
    return None
