"""From what a person types to streams: a path, a stream, an id, a SKU, an e-mail address, an external_id."""

from contract.emails import email_key
from contract.names import id_of
from query.database import Statement
from timeline.reading import Selecting

_KINDS = ("order", "product", "user")

_CLAIMED = Statement(b"SELECT DISTINCT stream FROM log.claims WHERE claim = ANY (%(claims)s::text[]) ORDER BY stream")

_THERE = Statement(
    b"SELECT stream FROM log.events WHERE stream = ANY (%(streams)s::text[]) AND version = 1 ORDER BY stream"
)


async def streams_of(select: Selecting, text: str) -> list[str]:
    """The streams that `text` names, each of which exists; usually one or none.

    A path (`orders/<id>`), a stream (`order-<id>`) or a bare id names a stream directly. All else is looked up among
    the SKUs, the e-mail addresses of users who are not deleted, and the external_ids of orders and users.
    """
    if direct := _direct(text):
        return [stream for (stream,) in await select.rows(_THERE, {"streams": direct})]
    if not _is_storable(text):
        return []
    claims = [f"sku:{text}", f"email:{email_key(text)}", f"order:{text}", f"user:{text}"]
    return [stream for (stream,) in await select.rows(_CLAIMED, {"claims": claims})]


def _direct(text: str) -> list[str]:
    """The streams that `text` is the id of, with or without its kind."""
    text = text.strip("/")
    for kind in _KINDS:
        for prefix in (f"{kind}s/", f"{kind}-"):
            if text.startswith(prefix):
                return _with_id((kind,), text.removeprefix(prefix))
    return _with_id(_KINDS, text)


def _with_id(kinds: tuple[str, ...], text: str) -> list[str]:
    try:
        return [f"{kind}-{id_of(text)}" for kind in kinds]
    except ValueError:
        return []


def _is_storable(text: str) -> bool:
    """Whether PostgreSQL can hold the text. Bytes of a command line that are not UTF-8 become lone surrogates."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
