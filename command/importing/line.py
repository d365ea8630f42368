"""A line of an import file: a row as JSON, with its place in the file."""

from typing import NamedTuple

# The same limit as a request's body. A longer line is counted and named, never held in memory.
LINE_BYTES_MAX = 1024 * 1024


class Line(NamedTuple):
    """A row, with the number of its first line in the file, counted from 1.

    `content` is JSON. `damage` says why this line and those after it cannot be read, `fault` why this row alone
    cannot be taken. `rows` are the line numbers of a CSV file's rows that it is made of; empty for JSON lines.
    """

    number: int
    content: bytes
    damage: str | None = None
    fault: str | None = None
    rows: tuple[int, ...] = ()

    @property
    def too_long(self) -> bool:
        """Whether only its beginning is in `content`."""
        return len(self.content) > LINE_BYTES_MAX
