"""Times as they stand in resources and events: RFC 3339, in UTC, with six decimals."""

from datetime import UTC, datetime
from functools import lru_cache


@lru_cache(maxsize=8)  # all commands of a batch that do not bring their own time have the same
def rfc3339(at: datetime) -> str:
    """An aware time as text that ends in `Z`."""
    return at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
