"""JSON lines as they come: plain or gzipped, cut off or damaged, with lines of any length; each with its number."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

# What a request's body may have. A longer line is counted and named, never held in memory.
LINE_BYTES_MAX = 1024 * 1024
CHUNK_BYTES = 256 * 1024

# A folder is imported in this order, because commands name users and products.
KINDS = ("users", "products", "commands")
SUFFIXES = (".jsonl", ".jsonl.gz")

_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Line(NamedTuple):
    """A line of a file, counted from 1. `damage` says why it and what follows it cannot be read, where that is so."""

    number: int
    content: bytes
    damage: str | None = None

    @property
    def too_long(self) -> bool:
        """Whether only its beginning is in `content`."""
        return len(self.content) > LINE_BYTES_MAX


def find(path: Path) -> list[Path]:
    """The files to import: `path` itself, or a folder's users*, products* and commands*, in that order.

    Raises FileNotFoundError with one line when there are none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"there is no file or folder {path}")
    entries = sorted(entry for entry in path.iterdir() if entry.name.endswith(SUFFIXES) and entry.is_file())
    found = [entry for kind in KINDS for entry in entries if entry.name.startswith(kind)]
    if not found:
        raise FileNotFoundError(f"{path} has no users*, products* or commands* files ending in .jsonl or .jsonl.gz")
    return found


def kind_of(path: Path) -> str | None:
    """What a file's rows are, if its name says so."""
    return next((kind for kind in KINDS if path.name.startswith(kind)), None)


def read(path: Path, has_read: Callable[[int], None] = lambda _: None) -> Iterator[Line]:
    """The lines of a file that are not blank, without their line ends. `has_read` is told the file's bytes read so far.

    What cannot be read does not raise: the last line then carries the damage, with as much of it as there was.
    """
    number = 0
    rest = b""
    try:
        for chunk in _chunks(path, has_read):
            *whole, rest = (rest + chunk).split(b"\n")
            for content in whole:
                number += 1
                if stripped := content.strip():
                    yield Line(number, stripped)
            # What is cut off here belongs to a line that is too long anyway.
            rest = rest[: LINE_BYTES_MAX + 1]
    except (OSError, EOFError, zlib.error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        yield Line(number + 1, rest, damage=f"the file cannot be read from here on: {reason}")
        return
    if stripped := rest.strip():
        yield Line(number + 1, stripped)


def _chunks(path: Path, has_read: Callable[[int], None]) -> Iterator[bytes]:
    """The file's content. Told by its first bytes, not its name, whether it is compressed."""
    with path.open("rb") as file:
        zipped = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        file.seek(0)
        # read1 hands over all that could be read before it raises what could not.
        source: IO[bytes] = gzip.GzipFile(fileobj=file) if zipped else file  # type: ignore[assignment]
        chunk = source.read1(CHUNK_BYTES).removeprefix(_BYTE_ORDER_MARK)  # type: ignore[attr-defined]
        while chunk:
            has_read(file.tell())
            yield chunk
            chunk = source.read1(CHUNK_BYTES)  # type: ignore[attr-defined]
