"""The request headers that the contract gives a meaning, read strictly."""

import re
from collections.abc import Iterable

from starlette.requests import Request

from contract.callers import KEY_BEGINNING
from contract.lost_values import is_lost_key
from contract.problems import Problem

KEY_LENGTH_MAX = 255
REQUEST_ID_LENGTH_MAX = 200

_ETAGS = re.compile(r'\s*(?:W/)?"[^"]*"\s*(?:,\s*(?:W/)?"[^"]*"\s*)*')
_QUOTED = re.compile(r'(?:W/)?"([^"]*)"')
_VERSION_TAG = re.compile(r"([0-9]{1,18})(?:\.[0-9a-f]{1,32})?")
_KEY_BEGINNING = KEY_BEGINNING.encode()
_REQUEST_ID = re.compile(rb"[ -~]{1,%d}" % REQUEST_ID_LENGTH_MAX)


def if_match(request: Request) -> int | None:
    """The version that If-Match demands, or None when it demands nothing (absent or `*`).

    The tag is a version, as a write answers, or a version and more behind a point, as a read does. Raises Problem
    `invalid-header` when it is no list of entity tags, or when there is an If-None-Match, which commands do not read;
    and `version-mismatch` when no tag in it can be a version of ours.
    """
    if "if-none-match" in request.headers:
        raise Problem("invalid-header", "This method takes If-Match, and not If-None-Match.")
    header = _single(request, "If-Match")
    if header is None or header.strip() == "*":
        return None
    if not _ETAGS.fullmatch(header):
        raise Problem("invalid-header", 'If-Match is not a quoted version such as "3".')
    tags = _QUOTED.findall(header)
    versions = [int(match[1]) for match in map(_VERSION_TAG.fullmatch, tags) if match]
    if len(tags) != 1:
        raise Problem("invalid-header", "If-Match takes one version.")
    if not versions:
        raise Problem("version-mismatch", f"If-Match is {header.strip()[:100]}, which is no version of this resource.")
    return versions[0]


def none_match(request: Request, tag: str) -> bool:
    """Whether If-None-Match has the entity tag (or `*`): the answer is 304. Weak comparison, RFC 9110 13.1.2."""
    header = ",".join(request.headers.getlist("if-none-match"))
    return header.strip() == "*" or tag in _QUOTED.findall(header)


def idempotency_key(request: Request) -> str | None:
    """The Idempotency-Key: 1 to 255 visible characters. Raises Problem `invalid-header`."""
    key = _single(request, "Idempotency-Key")
    if key is None:
        return None
    if is_lost_key(key):
        raise Problem("invalid-header", f"Idempotency-Key is {key[:100]!r}: the client has lost its key.")
    if not 1 <= len(key) <= KEY_LENGTH_MAX or not key.isascii() or not key.isprintable():
        raise Problem("invalid-header", f"Idempotency-Key must have 1 to {KEY_LENGTH_MAX} printable ASCII characters.")
    return key


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The X-Request-Id that the caller sent; None if no answer can carry it, or if it is an API key: it is logged.

    `headers` have their names in lower case.
    """
    for name, value in headers:
        if name == b"x-request-id":
            return value if _REQUEST_ID.fullmatch(value) and _KEY_BEGINNING not in value else None
    return None


def sync_token(request: Request) -> int | None:
    """The log position that Sync-Token names, or None. Raises Problem `invalid-header`."""
    token = _single(request, "Sync-Token")
    if token is None:
        return None
    if not (token.isascii() and token.isdigit() and len(token) < 19):
        raise Problem("invalid-header", "Sync-Token must be one that an earlier answer carried.")
    return int(token)


def _single(request: Request, name: str) -> str | None:
    """A header's one value, or None. Raises Problem `invalid-header` for two of them: which one counts is a guess."""
    values = request.headers.getlist(name)
    if len(values) > 1:
        raise Problem("invalid-header", f"{name} came {len(values)} times.")
    return values[0] if values else None
