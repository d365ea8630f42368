"""Texts that programs write for a value that they have lost, or that nobody has filled in."""

import re

# In any case, but for NaT and NA.
_LOST = re.compile(
    r"|undefined|null|none|nil|nan|(?-i:NaT)|<(?:nil|na|null)>|\((?:null|nil)\)"
    r"|(?:urn:uuid:)?[{(]?0{8}-(?:0{4}-){3}0{12}[)}]?|0{24,}"  # ids that are zero
    r"|\[object \w+\]|\{\}|\[\]|invalid date"  # JavaScript
    r"|function .*\}|(?:async )?\(?\w*\)? ?=> ?(?:\{.*\}|[\w.]+\(.*\))"
    r"|system\.[\w.`]+(?:\[.*\])?|optional\.empty|#?<(?!.*</)[a-z][^ ]* .*>|%!\w\(.*\)"  # .NET, Java, Python, Go
    r"|\{\{.*\}\}|\$\{.*\}|\$\(.*\)|\$[a-z_]\w*|%[a-z_]\w*%"  # what nothing was put in place of: Postman, shells
    r"|\\N|#?N/A|(?-i:NA)|#(?:REF|VALUE|NULL|NUM|DIV/0|SPILL|CALC)!|#NAME\?",  # databases, R, spreadsheets
    re.IGNORECASE,
)
# Behind a word, in the case in which programs write it: users may be called li-nan, and a SKU may end in -None.
_BEHIND_A_WORD = re.compile(
    r"[^1-9]*[-_:/|](?:undefined|null|None|NaN|\[object \w+\]|0{8}-(?:0{4}-){3}0{12})|[A-Z]+[-_:/|]nan"
)
# In place of null, PHP and shells write nothing.
_EMPTIED = re.compile(r"(?:[a-z]{2,}|[A-Z]{2,})[-_:/|]+")


def is_lost(text: str) -> bool:
    """Whether a text stands for a missing value, with or without quotation marks: as a key, it would be everybody's."""
    return _LOST.fullmatch(text.strip(" \t\n'\"")) is not None


def is_lost_id(text: str) -> bool:
    """Whether an id is a lost value, also behind a word: `customer-undefined` would be all who lack a number."""
    return is_lost(text) or _BEHIND_A_WORD.fullmatch(text) is not None


def is_lost_key(key: str) -> bool:
    """Whether an Idempotency-Key is a lost value, or words around one, such as `order-undefined` or `order-`.

    Without a number it is everybody's.
    """
    if is_lost(key) or _EMPTIED.fullmatch(key):
        return True
    if re.search("[1-9]", key):
        return False
    return "0" * 8 in key or any(len(it) > 2 and is_lost(it) for it in re.split(r"[-_:./|]", key))
