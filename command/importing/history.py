"""The rows that an earlier import of the same file has settled, so that a second import appends nothing.

Rows that were refused leave no trace. But a file is imported in order: when its line 70 is in the log and line 50 is
not, line 50 was refused. It stays refused, even if line 70 would let it pass now (docs/importing.md, Again).
"""

import hashlib
import re
from pathlib import Path
from typing import NamedTuple

import msgspec
from psycopg import AsyncConnection

from command.domain import order
from command.importing import files
from eventlog import origins

_DIGEST_BYTES = 8
_END = b"\0"
_DOCUMENT = re.compile(rb"[^\0]+")


class _Document(msgspec.Struct):
    """The one member of a command that its claim is made of."""

    order: str | int | float


class Settled(NamedTuple):
    """A file's digest, and the last line of it that is in the log (0: none)."""

    file: str
    up_to_line: int


async def look(connection: AsyncConnection, path: Path) -> Settled:
    """The settled rows of the file. Reads the whole file. Raises psycopg.Error."""
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    documents = bytearray()  # packed: a file may have millions
    decode = msgspec.json.Decoder(_Document).decode
    for line in files.read(path):
        digest.update(b"%d:%b\n" % (line.number, line.content))
        try:
            document = decode(line.content).order
            if isinstance(document, float) and document.is_integer():
                document = int(document)  # as contract/strict_json.py reads 17.0
            documents += str(document).encode() + _END
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue  # a user, a product, or something that will be refused
    claims_of = (order.external_id_claim, order.cancellation_claim)
    claims = (claim(it[0].decode()) for it in _DOCUMENT.finditer(documents) for claim in claims_of)
    return Settled(digest.hexdigest(), await origins.last_line(connection, digest.hexdigest(), claims))
