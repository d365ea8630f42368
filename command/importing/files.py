"""Import files as they come: JSON lines or CSV, plain or gzipped, cut off or damaged; each row with its number."""

import codecs
import csv
import gzip
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from io import BufferedReader
from pathlib import Path

from command.importing import csv_rows
from command.importing.line import LINE_BYTES_MAX, Line, Reason

CHUNK_BYTES = 256 * 1024
DAMAGED = "damaged-file"
TOO_LARGE = "row-too-large"
_TOO_LONG = Reason(TOO_LARGE, f"The row has more than {LINE_BYTES_MAX} bytes.")

# A folder is imported in this order, because commands name users and products.
KINDS = ("users", "products", "commands")
# How the names of files begin that hold rows of a kind.
_PREFIXES = {"users": ("users",), "products": ("products",), "commands": ("commands", "orders")}
_CSV = (".csv", ".csv.gz")
SUFFIXES = (".jsonl", ".jsonl.gz", *_CSV)

_DIGITS = re.compile(r"(\D*)(\d*)")
_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_ZIP_MAGIC = b"PK\x03\x04"
_PEEK_BYTES = 64 * 1024
_DAMAGES = (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error, csv_rows.NoHeader)


def find(path: Path) -> list[Path]:
    """The files to import: `path` itself, or a folder's users*, products*, and commands* or orders*, in natural order.

    Raises FileNotFoundError with one line when there are none.
    """
    if path.is_file():
        return [path]
    if path.exists() and not path.is_dir():
        raise FileNotFoundError(f"{path} is a pipe or a device: write its content to a file, and import that")
    if not path.is_dir():
        raise FileNotFoundError(f"there is no file or folder {path}")
    entries = _rows_in(path)
    found = [entry for kind in KINDS for entry in entries if kind_of(entry) == kind]
    if not found:
        raise FileNotFoundError(
            f"{path} has no users*, products*, commands* or orders* files ending in {', '.join(SUFFIXES)}"
        )
    return found


def left_out(path: Path) -> list[str]:
    """The files of a folder that look like rows, and whose names do not say of what: `find` leaves them out."""
    return [entry.name for entry in _rows_in(path) if kind_of(entry) is None] if path.is_dir() else []


def of_other_endings(path: Path) -> list[str]:
    """The entries of a folder that `find` leaves out because of their ending, such as orders-2.csv.zip."""
    entries = [entry.name for entry in path.iterdir() if kind_of(entry)] if path.is_dir() else []
    return sorted(name for name in entries if not name.lower().endswith(SUFFIXES))


def kind_of(path: Path) -> str | None:
    """The kind of a file's rows, if its name says so."""
    return next((kind for kind in KINDS if path.name.lower().startswith(_PREFIXES[kind])), None)


def is_csv(path: Path) -> bool:
    return path.name.lower().endswith(_CSV)


def misfit(path: Path, seen: dict[int, int] | None = None) -> str | None:
    """Why a file has none of the formats that are read, and what to do, in one line; None when it may have one.

    `seen` are the orders of the CSV files before it in the same import, and gets those of this one.
    """
    beginning = _beginning(path)
    if beginning is None:
        return None  # reading it says which line is damaged
    if beginning.startswith(_ZIP_MAGIC):
        return f"{path} is a workbook or a zip archive: save it as CSV UTF-8, or as JSON lines"
    if beginning.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return f"{path} is UTF-16: save it as UTF-8"
    if b"\0" in beginning:
        return f"{path} is not text: JSON lines and CSV are imported, plain or gzipped"
    if is_csv(path):
        return _misfit_of_csv(path, beginning, {} if seen is None else seen)
    if beginning.lstrip()[:1] == b"[" and beginning.lstrip()[1:].lstrip()[:1] == b"{":
        return f"{path} is one JSON array: write one object a line, for example with jq -c '.[]'"
    lines = beginning.removeprefix(_BYTE_ORDER_MARK).splitlines()
    if any(it.strip() for it in lines) and not any(it.lstrip()[:1] == b"{" for it in lines):
        return f"{path} has no JSON objects: write one object a line, or name a CSV file *.csv"
    return None


def ignored(path: Path) -> list[str]:
    """The columns of a CSV file, without a misfit, that no row has a use for."""
    beginning = _beginning(path) if is_csv(path) else None
    try:
        return csv_rows.ignored(beginning.decode(errors="replace").split("\n")) if beginning else []
    except csv.Error:
        return []  # reading it says which line is damaged


def _beginning(path: Path) -> bytes | None:
    """The first _PEEK_BYTES of a file, or its first line if that is longer; None when nothing can be read."""
    beginning = b""
    try:
        for chunk in _chunks(path, lambda _: None, _PEEK_BYTES):
            beginning += chunk
            if len(beginning) > LINE_BYTES_MAX or (len(beginning) >= _PEEK_BYTES and b"\n" in beginning):
                break
    except (OSError, EOFError, zlib.error):
        return beginning or None
    return beginning


def _misfit_of_csv(path: Path, beginning: bytes, seen: dict[int, int]) -> str | None:
    if len(beginning) > LINE_BYTES_MAX:
        return None  # reading it says that its first line is too long
    if b"\r" in beginning and b"\n" not in beginning:
        return f"{path} ends its lines with carriage returns alone: save it as CSV UTF-8"
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(beginning)
        next(csv_rows.rows(text.split("\n")[:2]), None)
    except UnicodeDecodeError as error:
        return f"{path} is not UTF-8 at byte {error.start + 1}: save it as CSV UTF-8"
    except csv_rows.NoHeader as error:
        return f"{path} cannot be read: {error}; see orders import --template orders"
    except csv.Error:
        return None
    try:
        found = csv_rows.scattered(_text_lines(_chunks(path, lambda _: None)), seen)
    except _DAMAGES:
        return None  # reading it says which line is damaged
    return f"{path} cannot be read: {found}" if found else None


def read(path: Path, has_read: Callable[[int], None] = lambda _: None) -> Iterator[Line]:
    """The rows of a file. Blank lines are left out. Calls `has_read` with the bytes of the file that were read so far.

    Damage does not raise: it is the reason of the last line, with as much of that line as there was.
    """
    chunks = _chunks(path, has_read)
    for line in _csv_lines(chunks) if is_csv(path) else _json_lines(chunks):
        is_damaged = line.reason is not None and line.reason.code == DAMAGED
        is_long = not is_damaged and len(line.content) > LINE_BYTES_MAX
        yield line._replace(reason=_TOO_LONG) if is_long else line


def _csv_lines(chunks: Iterable[bytes]) -> Iterator[Line]:
    number = 0
    try:
        for line in csv_rows.rows(_text_lines(chunks)):
            number = line.rows[-1]
            yield line
    except _DAMAGES as error:
        from_line = error.number if isinstance(error, csv_rows.UnreadableRow) else number + 1
        yield Line(from_line, b"", _damage(error))


def _text_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Lines with their ends, which a quoted cell may have inside it."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    rest = ""
    for chunk in chunks:
        *whole, rest = (rest + decoder.decode(chunk)).split("\n")
        for line in whole:
            yield line + "\n"
        if len(rest) > LINE_BYTES_MAX:
            raise csv.Error(f"a line has more than {LINE_BYTES_MAX} characters")
    rest += decoder.decode(b"", final=True)
    if rest:
        yield rest


def _json_lines(chunks: Iterable[bytes]) -> Iterator[Line]:
    number = 0
    rest = b""
    try:
        for chunk in chunks:
            *whole, rest = (rest + chunk).split(b"\n")
            for content in whole:
                number += 1
                if stripped := content.strip():
                    yield Line(number, stripped)
            # The bytes that are cut off here belong to a line that is too long anyway.
            rest = rest[: LINE_BYTES_MAX + 1]
    except (OSError, EOFError, zlib.error) as error:
        yield Line(number + 1, rest, _damage(error))
        return
    if stripped := rest.strip():
        yield Line(number + 1, stripped)


def _rows_in(folder: Path) -> list[Path]:
    entries = [entry for entry in folder.iterdir() if entry.name.lower().endswith(SUFFIXES)]
    if missing := next((entry for entry in entries if not entry.is_file() and kind_of(entry)), None):
        raise FileNotFoundError(f"{missing} is no file that can be read: mend its link, or move it elsewhere")
    return sorted(entries, key=lambda entry: _natural(entry.name))


def _natural(name: str) -> tuple[list[tuple[str, int]], str]:
    """A sort key: digits of any script as numbers, letters without regard to case; then the name, for `1` and `01`."""
    stem = name.lower().removesuffix(".gz").removesuffix(".jsonl").removesuffix(".csv")
    parts = _DIGITS.findall(stem)
    return [(text, int(digits or -1)) for text, digits in parts], name


def _damage(error: Exception) -> Reason:
    if isinstance(error, UnicodeDecodeError):
        return Reason(DAMAGED, "the file is not UTF-8 from here on: save it as CSV UTF-8")
    cause = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return Reason(DAMAGED, f"the file cannot be read from here on: {cause}")


def _chunks(path: Path, has_read: Callable[[int], None], size: int = CHUNK_BYTES) -> Iterator[bytes]:
    """The file's content, in pieces of about `size` bytes. Its first bytes, not its name, tell a compressed file."""
    with path.open("rb") as file:
        zipped = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
        file.seek(0)
        mark = _BYTE_ORDER_MARK
        for chunk in _filled(gzip.GzipFile(fileobj=file) if zipped else file, size):
            has_read(file.tell())
            yield chunk.removeprefix(mark)
            mark = b""


def _filled(source: gzip.GzipFile | BufferedReader, size: int) -> Iterator[bytes]:
    """Pieces of `size` bytes or more, of small reads; all that could be read before it raises what could not."""
    piece = bytearray()
    try:
        while read := source.read1(size):
            piece += read
            if len(piece) >= size:
                yield bytes(piece)
                piece.clear()
    except (OSError, EOFError, zlib.error):
        yield bytes(piece)
        raise
    yield bytes(piece)
