"""API keys as text: `ok_live_`, 8 characters of id, 43 of secret, 6 of checksum.

The secret is 256 random bits in base 62. A fixed beginning lets scanners find keys that were published by mistake, and
the checksum (CRC-32 of all before it) refuses typing errors without a look-up. Only a SHA-256 of the key is kept: slow
hashes protect secrets that can be guessed, and 256 random bits cannot.
"""

import hashlib
import re
import secrets
import string
import zlib
from typing import NamedTuple

from contract.callers import KEY_BEGINNING

ID_LENGTH, SECRET_LENGTH, CHECKSUM_LENGTH = 8, 43, 6
SECRET_BITS = 256

_DIGITS = string.digits + string.ascii_uppercase + string.ascii_lowercase
_KEY = re.compile(rf"{KEY_BEGINNING}[0-9A-Za-z]{{{ID_LENGTH + SECRET_LENGTH + CHECKSUM_LENGTH}}}", re.ASCII)


class NewKey(NamedTuple):
    """A key that was just made. `text` is the secret: it is shown once, and never kept."""

    id: str
    text: str
    sha256: bytes


def make() -> NewKey:
    """A new key."""
    id_ = "".join(secrets.choice(_DIGITS) for _ in range(ID_LENGTH))
    text = KEY_BEGINNING + id_ + _in_base_62(secrets.randbits(SECRET_BITS), SECRET_LENGTH)
    text += _checksum(text)
    return NewKey(id_, text, digest(text))


def is_well_formed(text: str) -> bool:
    """Whether the text can be a key: its form and its checksum are right."""
    return bool(_KEY.fullmatch(text)) and _checksum(text[:-CHECKSUM_LENGTH]) == text[-CHECKSUM_LENGTH:]


def digest(text: str) -> bytes:
    """The digest of a key, which is all that is stored of it."""
    return hashlib.sha256(text.encode()).digest()


def _checksum(text: str) -> str:
    return _in_base_62(zlib.crc32(text.encode()), CHECKSUM_LENGTH)


def _in_base_62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))
