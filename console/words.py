"""How numbers, times and sizes are written on the pages."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

if TYPE_CHECKING:
    from projector.parked import Group

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
# A pause shorter than this is written in milliseconds.
_MILLISECONDS_BELOW = timedelta(seconds=2)
TEXT_SHOWN_MAX = 160
HEADLINE_MAX = 90
_ASIDE = re.compile(r"\s*\([^()]*\)")
_CODE = re.compile("`([^`]+)`")
# Overrides and isolates of the direction of text. Data with one of them would turn our own words round.
_TURNING = {it: f"\\u{it:04x}" for it in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
_ANY_TURNING = re.compile(f"[{''.join(map(chr, _TURNING))}]")
DASH = "\u2013"


def number(value: Decimal | float | None) -> str:
    """A number with commas between thousands; a dash for None."""
    return DASH if value is None else f"{value:,}"


def span(length: timedelta | float | None) -> str:
    """A length of time in the unit that fits: 12 ms, 40 s, 3 min, 5 h, 2 d. A number is seconds."""
    if length is None:
        return DASH
    if not isinstance(length, timedelta):
        length = timedelta(seconds=length)
    length = max(length, timedelta(0))
    if length < _MILLISECONDS_BELOW:
        return f"{round(length / timedelta(milliseconds=1)):,} ms"
    seconds = int(length.total_seconds())
    size, unit = next(it for it in _UNITS if seconds >= it[0])
    return f"{seconds // size:,} {unit}"


def moment(at: datetime | None) -> str:
    """A time in UTC, to the millisecond."""
    return DASH if at is None else at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def minute(at: datetime) -> str:
    """A time in UTC, to the minute."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def parked(group: "Group") -> str:
    """How many streams are parked, at which event, and why."""
    streams = counted(group.streams, f"stream of {group.projection} is", f"streams of {group.projection} are")
    return f"{streams} parked at {group.type}" + (f": {group.said}" if group.said else "")


def typed_time(text: str) -> datetime:
    """A typed time; without a zone it is UTC. Raises ValueError and OverflowError."""
    at = datetime.fromisoformat(text.upper())
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)


def size(length: int) -> str:
    if length < 1024:
        return f"{length} B"
    if length < 1024**2:
        return f"{length / 1024:,.1f} KiB"
    return f"{length / 1024**2:,.1f} MiB"


def counted(amount: int, singular: str, plural: str | None = None) -> str:
    """`1 event`, `2 events`."""
    return f"{amount:,} {singular if amount == 1 else plural or singular + 's'}"


def ago(at: datetime) -> str:
    """How long ago a time was, by the clock of this process."""
    return span(datetime.now(UTC) - at)


def code(text: str) -> Markup:
    """The text in HTML, with everything between backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped


def visible(value: object) -> object:
    """The text with each character that changes the direction of text replaced by its code."""
    if isinstance(value, str) and _ANY_TURNING.search(value):
        return value.translate(_TURNING)  # slow, and most texts have none of them
    return value


def headline(text: str) -> str:
    """The text without asides in parentheses, such as a session's query; a long one without what its colon explains."""
    shorter = _ASIDE.sub("", text)
    if shorter != text:
        return headline(shorter)
    head = text[:HEADLINE_MAX].rpartition(": ")[0]
    return head if len(text) > HEADLINE_MAX and " " in head else text


def short(text: str, most: int = TEXT_SHOWN_MAX) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
