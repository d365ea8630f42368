"""Texts that programs write for a value that they have lost, or that nobody has filled in."""

import re

# In any case, but for NaT and NA.
_LOST = re.compile(
    r"|undefined|null|none|nil|nan|(?-i:NaT)|<(?:nil|na|null)>|\((?:null|nil)\)"
    r"|(?:urn:uuid:)?[{(]?0{8}-(?:0{4}-){3}0{12}[)}]?|0{24,}"  # ids that are zero
    r"|\[object \w+\]|function .*\}|(?:async )?\(?\w*\)? ?=>.*[)}]|\{\}|\[\]|invalid date"  # JavaScript
    r"|system\.[\w.`]+(?:\[.*\])?|optional\.empty|#?<[a-z][^ ]* .*>|%!\w\(.*\)"  # .NET, Java, Python and Ruby, Go
    r"|\{\{.*\}\}|\$\{.*\}|\$\(.*\)|\$[a-z_]\w*|%[a-z_]\w*%"  # what nothing was put in place of: Postman, shells
    r"|\\N|#?N/A|(?-i:NA)|#(?:REF|VALUE|NULL|NUM|DIV/0|SPILL|CALC)!|#NAME\?",  # databases, R, spreadsheets
    re.IGNORECASE,
)


def is_lost(text: str) -> bool:
    """Whether a text stands for a missing value, with or without quotation marks: as a key, it would be everybody's."""
    return _LOST.fullmatch(text.strip(" \t\n'\"")) is not None


def is_lost_in_part(key: str) -> bool:
    """Whether a key is words around a lost value, such as `order-undefined`: without a number it is everybody's."""
    return not re.search("[1-9]", key) and any(len(it) > 2 and is_lost(it) for it in re.split(r"[-_:./|]", key))
