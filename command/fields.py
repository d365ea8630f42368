"""The fields of request bodies: types with their limits, strict about what JSON they take."""

import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, LiteralString

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from command.domain import money
from command.domain.currencies import CURRENCIES
from contract.lost_values import is_lost, is_lost_id
from contract.names import ID_RULE, id_of

NAME_LENGTH_MAX = 200
KEY_LENGTH_MAX = 100
EMAIL_LENGTH_MAX = 254
TEXT_LENGTH_MAX = 1_000
LINES_MAX = 1_000
QUANTITY_MAX = 1_000_000
STOCK_MAX = 10**12

# PostgreSQL stores no NUL: one of them would fail everybody's commands in its batch. The others are never meant, and
# are trouble in terminals and spreadsheets. Lone surrogates are refused by pydantic: they are no text.
_CONTROLS = r"\x00-\x08\x0b\x0c\x0e-\x1f"
_CONTROL = re.compile(f"[{_CONTROLS}]")
# Letters and symbols that show nothing: fillers of Korean, and the empty pattern of Braille.
_EMPTY = "\u115f\u1160\u2800\u3164\uffa0"


class Body(BaseModel):
    """A request body: no unknown fields, no conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _uuid(value: Any) -> Any:
    try:
        return id_of(value)
    except (TypeError, ValueError):
        raise PydanticCustomError("uuid", ID_RULE) from None


def _money(value: Any) -> Decimal:
    try:
        return money.parse(value)
    except ValueError as error:
        raise PydanticCustomError("money", "{reason}", {"reason": str(error)}) from None


def _refuse(code: LiteralString, detail: LiteralString, is_wrong: Callable[[Any], object]) -> AfterValidator:
    """A validator. `detail` may quote the value as `{value}`."""

    def check(value: Any) -> Any:
        if is_wrong(value):
            # A text may have lone surrogates, which an error cannot carry.
            raise PydanticCustomError(code, detail, {"value": str(value).encode(errors="replace").decode()})
        return value

    return AfterValidator(check)


def _is_hidden(character: str) -> bool:
    # Cf: characters that show nothing, such as a zero-width space.
    return character in _EMPTY or unicodedata.category(character) == "Cf"


def _shows_nothing(character: str) -> bool:
    # Marks (Mn, Me) show only on a letter.
    return character.isspace() or _is_hidden(character) or unicodedata.category(character) in {"Mn", "Me"}


def _has_hidden(value: str) -> bool:
    """Whether a key has what nobody sees, such as a byte order mark, a line end or a no-break space."""
    if value.isascii() and value.isprintable():
        return False
    return any(_is_hidden(it) or (it.isspace() and it != " ") for it in value)


# No multipleOf for the decimals of a number: validators compute it with floats, and refuse 0.29 and 19.99.
_money_schema = {
    "anyOf": [
        {"type": "string", "pattern": r"^[0-9]{1,12}(\.[0-9]{1,4}0{0,14})?$"},
        {"type": "number", "format": "double", "minimum": 0, "exclusiveMaximum": 10**12},
    ],
    "examples": ["49.99"],
    "description": "0 or more, below 10^12, at most 4 decimals",
}


def _length(least: int, most: int, pattern: str = f"^[^{_CONTROLS}]*$") -> Any:
    """Limits of a text, which is documented as one without control characters."""
    return Field(min_length=least, max_length=most, json_schema_extra={"pattern": pattern})


# Documented, not checked by pydantic: Python's white space is what counts.
_NOT_BLANK_PATTERN = rf"^[^{_CONTROLS}]*[^\s{_CONTROLS}\x85][^{_CONTROLS}]*$"
# Without what programs write around an address: <>, mailto:, quotation marks, the ; of a list, the point of a sentence.
_NOT_IN_ADDRESS = rf'@\s{_CONTROLS}\x85<>()\[\]:;,"\\'
_ADDRESS_PATTERN = rf"^[^{_NOT_IN_ADDRESS}]+@[^{_NOT_IN_ADDRESS}']*[^{_NOT_IN_ADDRESS}'.]$"
_ADDRESS = re.compile(_ADDRESS_PATTERN)

_NO_CONTROL = _refuse(
    "control-character", "must not have control characters except tabs and line breaks", _CONTROL.search
)
_NOT_BLANK = _refuse("blank", "must not be blank", lambda it: it and all(map(_shows_nothing, it)))
_NOTHING_HIDDEN = _refuse("hidden-character", "must not have characters that show nothing", _has_hidden)
_EMAIL = _refuse("email", "must be an e-mail address such as ada@example.org", lambda it: not _ADDRESS.fullmatch(it))
_CURRENCY = _refuse("currency", "must be an ISO 4217 code such as EUR", lambda it: it not in CURRENCIES)
_IS_LOST: LiteralString = "is {value}, which programs write for a missing value"
NOT_LOST = _refuse("lost-value", _IS_LOST, is_lost)
_NOT_LOST_ID = _refuse("lost-value", _IS_LOST, is_lost_id)
_NO_LETTER_LOST = _refuse(
    "lost-character", "must not have U+FFFD, which stands for a letter that was lost", lambda it: "\ufffd" in it
)


def _is_lost_name(name: str) -> bool:
    """A name may be Null, None, Nan or Nil, with a capital."""
    return is_lost(name) and not (name.isalpha() and name.istitle())


_NAMED = _refuse("lost-value", _IS_LOST, _is_lost_name)

# Regular expressions differ between languages, so no pattern can say these rules to the clients of all of them.
_SHOWS_SOMETHING = Field(description="must have a visible character")


def required(most: int) -> tuple[Any, ...]:
    """What makes a `str` a text of 1 to `most` characters that is not blank: `Annotated[str, *required(500)]`."""
    return _length(1, most, _NOT_BLANK_PATTERN), _NO_CONTROL, _NOT_BLANK, _SHOWS_SOMETHING


Name = Annotated[str, *required(NAME_LENGTH_MAX), _NAMED]
_SHOWN_ALONE = "without characters that show nothing"
_KEY = Field(description=f"{_SHOWN_ALONE}; no word that programs write for a missing value, such as NULL")
Sku = Annotated[str, *required(KEY_LENGTH_MAX), NOT_LOST, _NOTHING_HIDDEN, _NO_LETTER_LOST, _KEY]
ExternalId = Annotated[str, *required(KEY_LENGTH_MAX), _NOT_LOST_ID, _NOTHING_HIDDEN, _NO_LETTER_LOST, _KEY]
_ADDRESS_RULES = (_length(3, EMAIL_LENGTH_MAX, _ADDRESS_PATTERN), _NO_CONTROL, _EMAIL, _NOTHING_HIDDEN, _NO_LETTER_LOST)
Email = Annotated[str, *_ADDRESS_RULES, Field(description=_SHOWN_ALONE)]
Text = Annotated[str, _length(0, TEXT_LENGTH_MAX), _NO_CONTROL]
RequiredText = Annotated[str, *required(TEXT_LENGTH_MAX)]
Id = Annotated[str, BeforeValidator(_uuid), WithJsonSchema({"type": "string", "format": "uuid"})]
_MONEY = (PlainValidator(_money), PlainSerializer(str, return_type=str), WithJsonSchema(_money_schema))
Money = Annotated[Decimal, *_MONEY]
# A client may leave it out, but not send null: a client that has lost the price must not skip the check by mistake.
GivenMoney = Annotated[Decimal | None, *_MONEY]
Currency = Annotated[
    str, _CURRENCY, WithJsonSchema({"type": "string", "enum": sorted(CURRENCIES), "examples": ["EUR"]})
]
Quantity = Annotated[int, Field(ge=1, le=QUANTITY_MAX, json_schema_extra={"format": "int32"})]
Stock = Annotated[int, Field(ge=0, le=STOCK_MAX, json_schema_extra={"format": "int64"})]
StockDelta = Annotated[
    int,
    Field(ge=-STOCK_MAX, le=STOCK_MAX, json_schema_extra={"format": "int64", "not": {"const": 0}}),
    _refuse("zero", "must not be 0", lambda it: it == 0),
]
LineNumber = Annotated[int, Field(ge=1, le=LINES_MAX, json_schema_extra={"format": "int32"})]
