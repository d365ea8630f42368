"""A line of an import file: a row as JSON, with its place in the file."""

from typing import NamedTuple

# The same limit as a request's body. A longer line is counted and named, never held in memory.
LINE_BYTES_MAX = 1024 * 1024


class Reason(NamedTuple):
    """Why a row was not taken. Codes are the API's wherever it has one."""

    code: str
    detail: str


class Line(NamedTuple):
    """A row, with the number of its first line in the file, counted from 1.

    `content` is JSON, of which a line with `reason` may have the beginning alone. `rows` are the line numbers of a CSV
    file's rows that it is made of; empty for JSON lines.
    """

    number: int
    content: bytes
    reason: Reason | None = None
    rows: tuple[int, ...] = ()
