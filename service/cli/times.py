"""Spans of time and moments, as operators type them on the command line."""

import re
from datetime import UTC, datetime, timedelta

import typer

from console.words import typed_time

_SPAN = re.compile(r"(0|[1-9][0-9]{0,4})(min|h|d)")
_UNITS = {"min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def span(text: str) -> timedelta:
    """A span such as 90d, 12h or 30min. Raises typer.BadParameter."""
    match = _SPAN.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no span of time: write 90d, 12h or 30min")
    return int(match[1]) * _UNITS[match[2]]


def moment(text: str) -> datetime:
    """A time, or how long ago it was: 2026-11-22T13:51:00Z, 2026-11-22 or 30min. Without a zone it is UTC.

    Raises typer.BadParameter.
    """
    if _SPAN.fullmatch(text):
        return datetime.now(UTC) - span(text)
    try:
        return typed_time(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no time: write 2026-11-22T13:51:00Z, or 12h for so long ago") from None
