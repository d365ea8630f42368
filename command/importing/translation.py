"""From a row to the command that it asks for."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple

from pydantic import ValidationError

from command.domain.placing import WantedLine
from command.importing import files, reasons
from command.importing.line import Reason
from command.importing.placing import PlaceImportedOrder
from command.importing.returning import CancelImportedOrder, Returned, ReturnItems
from command.importing.rows import CancelOrderRow, PlaceOrderRow, ProductRow, ReturnItemsRow, UserRow
from command.orders import ProductRef
from command.products import AddProduct
from command.submission import Command
from command.users import RegisterUser
from contract.problems import Problem
from contract.strict_json import parse_json
from eventlog.ids import new_id

# RFC 2606 keeps this domain free for ever: nothing is ever sent to the addresses made up here.
MADE_UP_DOMAIN = "import.invalid"

_PLAIN_ID = re.compile(r"[0-9a-z]+(-[0-9a-z]+)*")
_PLAIN_ID_LENGTH_MAX = 50
_DIGEST_BYTES = 10


class Wanted(NamedTuple):
    """A command, and when what it is about happened; None: now."""

    command: Command
    occurred_at: datetime | None


def translate(content: bytes, kind: str | None, currency: str | None) -> Wanted | Reason:
    """The command that a line asks for, or why it asks for none.

    `kind` is users, products or commands; None: each row's own members tell. `currency` is for rows that carry none.
    """
    try:
        row = parse_json(content)
    except Problem as problem:
        return reasons.of_malformed(problem)
    if not isinstance(row, dict):
        return Reason("validation-error", "The row is not a JSON object.")
    if row.get("currency") is None and currency is not None:
        row["currency"] = currency
    try:
        return _command_of(row, kind or _kind_of(row))
    except ValidationError as invalid:
        return reasons.of_invalid(invalid)


def _kind_of(row: dict[str, Any]) -> str:
    if "order" in row or "lines" in row:
        return "commands"
    if "sku" in row:
        return "products"
    return "users" if "id" in row else "commands"


def _command_of(row: dict[str, Any], kind: str) -> Wanted | Reason:
    asked = row.get("kind") if kind == "commands" else kind
    if asked is None and {"code", "detail", "row"} <= row.keys():
        return Reason("unknown-kind", "This is a line of a rejects file: import the rows of one, by jq -cr .row FILE.")
    if asked is None:
        return Reason("unknown-kind", f"The row has no kind: {_KNOWN_KINDS}.")
    translation = _TRANSLATIONS.get(asked) if isinstance(asked, str) else None
    if translation is None or (kind == "commands" and asked in files.KINDS):
        shown = str(asked)[:100].encode(errors="replace").decode()
        return Reason("unknown-kind", f"The kind {shown!r} is not {_KNOWN_KINDS}.")
    return translation(row)


def _register(members: dict[str, Any]) -> Wanted:
    row = UserRow.model_validate(members)
    name = row.name or f"Customer {row.id}"
    command = RegisterUser(new_id(), name, row.email or made_up_email(row.id), row.id)
    return Wanted(command, row.first_seen)


def _add(members: dict[str, Any]) -> Wanted:
    row = ProductRow.model_validate(members)
    command = AddProduct(new_id(), row.sku, row.description, row.unit_price, row.currency, row.stock)
    return Wanted(command, row.first_seen)


def _place(members: dict[str, Any]) -> Wanted:
    row = PlaceOrderRow.model_validate(members)
    products = tuple([ProductRef(None, line.sku) for line in row.lines])
    lines = tuple([WantedLine(line.quantity, agreed_unit_price=line.unit_price) for line in row.lines])
    command = PlaceImportedOrder(row.at, new_id(), row.order, row.customer, row.currency, products, lines)
    return Wanted(command, row.at)


def _cancel(members: dict[str, Any]) -> Wanted:
    row = CancelOrderRow.model_validate(members)
    named = Counter[str]()
    for line in row.lines:
        named[line.sku] += line.quantity
    return Wanted(CancelImportedOrder(row.order, row.target, dict(named)), row.at)


def _return(members: dict[str, Any]) -> Wanted:
    row = ReturnItemsRow.model_validate(members)
    returned = tuple(
        Returned(number, line.sku, source.order, source.quantity, line.unit_price)
        for number, line in enumerate(row.lines, 1)
        for source in line.sources
    )
    return Wanted(ReturnItems(row.order, returned), row.at)


def made_up_email(user_id: str) -> str:
    """An address for a user who has none: the same for the same id, and another for any other id.

    Addresses are unique without regard to case and have no blanks, ids may differ in nothing else. So an id that is
    not plain gets a hash, behind a `+` that no plain id has.
    """
    local = user_id
    if len(user_id) > _PLAIN_ID_LENGTH_MAX or not _PLAIN_ID.fullmatch(user_id):
        readable = re.sub(r"[^0-9a-z]+", "-", user_id.lower())[:20].strip("-")
        digest = hashlib.blake2b(user_id.encode(), digest_size=_DIGEST_BYTES).hexdigest()
        local = f"{readable}+{digest}" if readable else f"+{digest}"
    return f"customer-{local}@{MADE_UP_DOMAIN}"


_KNOWN_KINDS = "place_order, cancel_order or return_items"
_TRANSLATIONS: dict[str, Callable[[dict[str, Any]], Wanted]] = {
    "users": _register,
    "products": _add,
    "place_order": _place,
    "cancel_order": _cancel,
    "return_items": _return,
}
