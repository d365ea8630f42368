"""JSON read strictly: no duplicate keys, no NaN, and no binary floats for money."""

import codecs
import json
import re
from collections import Counter
from decimal import Decimal
from typing import Any, NoReturn

from contract.problems import Problem

# Of so many digits a binary float keeps all: of a longer number it may have made another.
_WHOLE = re.compile(r"-?[0-9]{1,15}\.0+")


def _object_without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {twice[:100]!r} stands twice in one object")
    return members


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _number(text: str) -> int | Decimal:
    """A number with a point or an exponent, from its own text. Some languages write the integer 5 as 5.0."""
    return int(text.partition(".")[0]) if _WHOLE.fullmatch(text) else Decimal(text)


_decoder = json.JSONDecoder(
    object_pairs_hook=_object_without_duplicates, parse_float=_number, parse_constant=_refuse_constant
)


def parse_json(body: bytes) -> Any:
    """The JSON document in `body`, with numbers as int or Decimal. A byte order mark before it is skipped.

    Raises Problem `malformed-json` for bad UTF-8, bad syntax, duplicate keys, NaN, and nesting too deep to read.
    """
    try:
        return _decoder.decode(body.removeprefix(codecs.BOM_UTF8).decode())
    except RecursionError:
        raise Problem("malformed-json", "The body is nested too deeply.") from None
    except UnicodeDecodeError as error:
        raise Problem("malformed-json", f"The body is not UTF-8 at byte {error.start}.") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno} column {error.colno}"
        raise Problem("malformed-json", f"The body is not JSON at {where}: {error.msg}.") from None
    except (ValueError, ArithmeticError) as error:
        raise Problem("malformed-json", f"The body cannot be read: {error}.") from None
