"""The write side's cache: the states of streams, and the owners of claims.

The writer holds the log's head while it uses the cache, and first drops every stream that another process has appended
to. Missing states are loaded from a snapshot and the events behind it.
"""

from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from sys import getsizeof
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from psycopg import AsyncConnection

from command.domain import order, product, user
from command.domain.order import Order
from command.domain.product import Product
from command.domain.refusals import VersionMismatch
from command.domain.user import User
from command.shapes import shape_of_class
from contract.names import split
from contract.times import rfc3339
from eventlog import read
from eventlog.codec import Codec, UnreadableEvent
from eventlog.read import PastEvent

MIB = 1024**2
# Kept from one batch to the next: about 30,000 users and products with short names, and 70,000 SKUs.
STREAMS_BYTES_MAX = 32 * MIB
SKUS_BYTES_MAX = 32 * MIB
# Of an entry, beside its texts: the objects that hold it, and its places in the dictionary.
_ENTRY_BYTES = 400
# A batch reads so many events behind a snapshot: more than there usually are, as two releases that run side by side
# share the writing of snapshots. A stream with more is loaded outside the batch (command/loading.py).
TAIL_EVENTS_MAX = 32

State = TypeVar("State", bound=User | Product | Order)
Value = TypeVar("Value")


class Entity(NamedTuple, Generic[State]):
    version: int
    state: State

    def check_version(self, expected: int | None) -> None:
        """Raise VersionMismatch unless `expected`, which the caller has seen, is None or the version."""
        if expected is not None and expected != self.version:
            raise VersionMismatch(expected, self.version)


class NotLoaded(Exception):
    """A stream has too many events behind its snapshot, or its snapshot cannot be read: the loader must load it."""

    def __init__(self, stream: str) -> None:
        super().__init__(f"{stream} is not loaded yet")
        self.stream = stream


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of stream becomes a state. A release reads only snapshots of its own `shape`."""

    shape: int
    evolve: Callable[[str, Any, Any, str], Any]
    decode: Callable[[str], Any]
    kept: bool

    @classmethod
    def of(cls, state: type[Any], evolve: Callable[..., Any], kept: bool = True, meaning: int = 1) -> "Kind":
        """Another `meaning` makes another shape: for an `evolve` that makes something else of the same events."""
        return cls(shape_of_class(state, meaning), evolve, msgspec.json.Decoder(state).decode, kept)


KINDS: dict[str, Kind] = {
    "user": Kind.of(User, user.evolve),
    "product": Kind.of(Product, product.evolve),
    # Orders are many, large, and seldom asked for again: they are loaded when they are.
    "order": Kind.of(Order, order.evolve, kept=False),
}


# The kind of stream that a kind of claim belongs to.
OWNERS = {"email": "user", "user": "user", "sku": "product", "order": "order", "cancellation": "order"}


def is_order(stream: str) -> bool:
    """Whether the stream is an order's, which may have a thousand lines."""
    return stream.startswith("order-")


def shape_of(stream: str) -> int:
    return KINDS[split(stream)[0]].shape


class Cache(dict[str, Value]):
    """States of streams, or owners of claims, by name, added by `put`. `bytes` is how many bytes they take, roughly.

    It keeps the size of each entry as it was added: a text that is encoded later takes more memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0
        self._sizes: dict[str, int] = {}

    def put(self, key: str, value: Value) -> None:
        size = _bytes_of(key, value)
        self.bytes += size - self._sizes.get(key, 0)
        self._sizes[key] = size
        self[key] = value

    def drop(self, key: str) -> None:
        if key in self:
            del self[key]
            self.bytes -= self._sizes.pop(key)

    def clear(self) -> None:
        super().clear()
        self._sizes.clear()
        self.bytes = 0

    def trim(self, bytes_max: int) -> None:
        """If the entries take more bytes than that, drop the oldest, down to nine tenths of it."""
        if self.bytes > bytes_max:
            for key in list(self):
                self.drop(key)
                if self.bytes <= bytes_max * 9 // 10:
                    break


def _bytes_of(key: str, value: object) -> int:
    fields = msgspec.structs.astuple(value.state) if isinstance(value, Entity) else (value,)
    return _ENTRY_BYTES + sum(map(getsizeof, (key, *fields)))


class States:
    """The states and claims at the log's `position`."""

    def __init__(self, codec: Codec) -> None:
        self.position = 0
        self._codec = codec
        self._streams: Cache[Entity[Any] | None] = Cache()
        # Why streams, and claims, cannot be used in this batch.
        self._unreadable: dict[str, UnreadableEvent | NotLoaded] = {}
        self._claims: Cache[str | None] = Cache()
        # States that are dropped after the batch.
        self._passing: list[str] = []

    def __contains__(self, key: str) -> bool:
        """Whether a stream, or a claim, is known (to be there or not)."""
        return key in self._streams or key in self._claims or key in self._unreadable

    def is_not_loaded(self, stream: str) -> bool:
        return isinstance(self._unreadable.get(stream), NotLoaded)

    def user(self, user_id: str) -> Entity[User] | None:
        return self.entity(user.stream(user_id))

    def product(self, product_id: str) -> Entity[Product] | None:
        return self.entity(product.stream(product_id))

    def order(self, order_id: str) -> Entity[Order] | None:
        return self.entity(order.stream(order_id))

    def entity(self, stream: str) -> Entity[Any] | None:
        """Raises NotLoaded, or UnreadableEvent for a stream that cannot be read: it takes no commands until it can."""
        if stream in self._unreadable:
            raise self._unreadable[stream]
        return self._streams[stream]

    def owner(self, claim: str) -> str | None:
        """Raises UnreadableEvent for a claim that somebody gave to a stream which cannot have it."""
        if claim in self._unreadable:
            raise self._unreadable[claim]
        return self._claims[claim]

    def evolve(self, stream: str, event: object, at: str) -> Entity[Any]:
        """The stream's state after one more event, which is thereby what everybody sees."""
        name, entity_id = split(stream)
        kind = KINDS[name]
        version, state = self._streams.get(stream) or (0, None)
        after = Entity(version + 1, kind.evolve(entity_id, state, event, at))
        self._streams.put(stream, after)
        if not kind.kept:
            self._passing.append(stream)
        return after

    @contextmanager
    def kept(self, streams: Iterable[str]) -> Iterator[None]:
        """Restore the states of these streams at the end of the `with` block, also after an exception."""
        before = {stream: self._streams[stream] for stream in streams if stream in self._streams}
        try:
            yield
        finally:
            self.forget(streams)
            for stream, entity in before.items():
                self._streams.put(stream, entity)

    def set_owner(self, claim: str, stream: str | None) -> None:
        self._claims.put(claim, stream)
        self._passing.append(claim)

    def forget(self, streams: Iterable[str]) -> None:
        for stream in streams:
            self._streams.drop(stream)

    def clear(self) -> None:
        """Drop everything: after a batch that failed, or whose outcome is unknown."""
        for known in (self._streams, self._claims, self._unreadable, self._passing):
            known.clear()

    def trim(self, reads_on: bool = False) -> None:
        """Forget the streams that the next batch will hardly need, so that the memory stays within bounds.

        `reads_on`: a command has read only some of its streams and goes on in the next batch, so all streams are kept.
        """
        for key in self._passing:
            self._claims.drop(key)
            if not reads_on:
                self._streams.drop(key)
        self._passing = [key for key in self._passing if key in self._streams] if reads_on else []
        self._unreadable.clear()
        self._streams.trim(STREAMS_BYTES_MAX)
        self._claims.trim(SKUS_BYTES_MAX)

    async def load(self, connection: AsyncConnection, keys: Iterable[str], loading: Container[str] = ()) -> int:
        """Load the streams and claims `keys`, but for streams in `loading`, which the loader still reads.

        Returns how many bytes of data were read.
        """
        bytes_read = 0
        claims = [key for key in keys if ":" in key]
        self._unreadable.update((key, NotLoaded(key)) for key in keys if key in loading)
        streams = {key: shape_of(key) for key in keys if ":" not in key and key not in loading}
        if claims:
            found = await read.claims(connection, claims)
            for claim in claims:
                owner = found.get(claim)
                if owner is not None and split(owner)[0] != OWNERS[claim.partition(":")[0]]:
                    self._unreadable[claim] = UnreadableEvent(f"log.claims says that {owner} has {claim}")
                else:
                    self._claims.put(claim, owner)
            # A SKU is never given up, so who has one can be kept; of all else another process may make something new.
            self._passing += [claim for claim in claims if claim not in found or not claim.startswith("sku:")]
        if streams:
            histories = await read.histories(connection, streams, TAIL_EVENTS_MAX + 1)
            self._passing += [it for it in streams if it not in histories or not KINDS[split(it)[0]].kept]
            for stream in streams:
                history = histories.get(stream)
                if history:
                    bytes_read += len(history.state or "") + sum([len(event.data) for event in history.events])
                try:
                    self._streams.put(stream, self._entity_of(stream, history) if history else None)
                except NotLoaded as error:
                    self._unreadable[stream] = error
                except Exception as error:  # noqa: BLE001 - whatever is wrong with a stream, others are not to suffer
                    self._unreadable[stream] = UnreadableEvent(f"{stream}: {str(error) or type(error).__name__}")
        return bytes_read

    def _entity_of(self, stream: str, history: read.History) -> Entity[Any]:
        base = base_of(stream, history)
        if base is None or len(history.events) > TAIL_EVENTS_MAX:
            raise NotLoaded(stream)
        return fold(self._codec, stream, base, history.events)


def base_of(stream: str, history: read.History) -> Entity[Any] | None:
    """The state in the history's snapshot, or version 0 without one. None: there is a snapshot that cannot be read."""
    if history.state is None:
        return Entity(0, None)
    try:
        return Entity(history.version, KINDS[split(stream)[0]].decode(history.state))
    except Exception:  # noqa: BLE001 - a snapshot is a cache: whatever is wrong with it, the events are there
        return None


def fold(codec: Codec, stream: str, base: Entity[Any], events: Iterable[PastEvent]) -> Entity[Any]:
    """The stream's state after the next `events`. Raises UnreadableEvent, and whatever `evolve` raises."""
    name, entity_id = split(stream)
    evolve = KINDS[name].evolve
    version, state = base
    for past in events:
        event = codec.decode(past.type, past.schema_version, past.data)
        state = evolve(entity_id, state, event, rfc3339(past.occurred_at))
        if state is None:
            raise UnreadableEvent(f"{past.type} does not belong into such a stream")
        version = past.version
    return Entity(version, state)
