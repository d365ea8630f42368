"""Old events in today's shape: one function for each schema version that was ever left behind.

A function takes the stored JSON object of its version and returns that of the next; the codec applies them in turn.
Add one when you raise a number in `eventlog.events.SCHEMA_VERSIONS`:

    def order_placed_1(data): return {**data, "channel": "web"}
    UPCASTERS = {("OrderPlaced", 1): order_placed_1}
"""

from collections.abc import Callable, Mapping
from typing import Any

Upcaster = Callable[[dict[str, Any]], dict[str, Any]]

UPCASTERS: Mapping[tuple[str, int], Upcaster] = {}
