"""The rejects file: a JSON line for every row that was refused, with where it stood, why, and the row itself."""

from pathlib import Path
from typing import IO, Self

import msgspec

from command.importing.files import DAMAGED, TOO_LARGE
from command.importing.line import LINE_BYTES_MAX, Line, Reason
from eventlog.codec import encode

# For a summary; the file has all.
FIRST_MAX = 100
# Of a line that is too long to be a row, this much is kept.
SHOWN_BYTES_MAX = 1_000


class Rejects:
    """Writes the file anew: what an earlier import refused is not in it any more. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self.first: list[dict[str, str | int]] = []  # without the rows themselves, which may hold personal data

    def __enter__(self) -> Self:
        self._file = self._path.open("wb")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, file: Path, line: Line, reason: Reason) -> None:
        assert self._file is not None, "used as a context manager"
        entry: dict[str, str | int] = {
            "file": str(file),
            "line": line.number,
            "code": reason.code,
            "detail": reason.detail,
        }
        if len(self.first) < FIRST_MAX:
            self.first.append(entry)
        self._file.write(encode({**entry, "row": _row(line, reason)}) + b"\n")


def _row(line: Line, reason: Reason) -> msgspec.Raw | str:
    """The row as it stood in the file, number for number; as text if it is no JSON."""
    if reason.code not in {DAMAGED, TOO_LARGE, "malformed-json"}:
        return msgspec.Raw(line.content)
    is_long = len(line.content) > LINE_BYTES_MAX
    return line.content[: SHOWN_BYTES_MAX if is_long else None].decode(errors="replace")
