"""What a projection knows of an event beside its data."""

from typing import NamedTuple


class Envelope(NamedTuple):
    """`id` is the one in the stream's name, `version` the stream's after this event, `at` when it happened."""

    id: str
    version: int
    at: str
