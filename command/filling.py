"""Filling a batch: what the next commands need is loaded, and they are decided, until the batch is full.

How much a command needs and appends is not known before: a cancellation may be of one line or of a thousand. So a batch
that turns out large reads in small steps, and what it has no room for is not read for nothing.
"""

import contextlib
from collections.abc import Iterable, Sequence

from psycopg import AsyncConnection

from command.deciding import Decided, decide
from command.loading import Loader
from command.states import NotLoaded, States, is_order
from command.waiting import Waiting
from eventlog.codec import UnreadableEvent

# Orders that the first step of a batch reads. Each further one reads four times as many, up to ORDERS_MAX.
FIRST_ORDERS_MAX, ORDERS_MAX = 4, 64
# Streams and claims that a step reads.
READS_MAX = 2_000


async def fill(
    decided: Decided, commands: Sequence[Waiting], states: States, connection: AsyncConnection, loader: Loader
) -> None:
    """Decide as many of the commands as the batch has room for. Expects the log's head to be held."""
    orders_max = FIRST_ORDERS_MAX
    while commands := decided.admit(commands, states):
        ready = len(commands)
        while True:
            unknown, ready = missing(commands[:ready], decided, states, orders_max)
            if not unknown:
                break
            decided.rows += len(unknown)
            decided.data_bytes += await states.load(connection, unknown, loader)
        decide(commands[:ready], decided, states)
        commands = commands[ready:]
        orders_max = min(4 * orders_max, ORDERS_MAX)


def missing(commands: Iterable[Waiting], decided: Decided, states: States, orders_max: int) -> tuple[set[str], int]:
    """The streams and claims that the first commands need and that are not known yet, and how many commands that is.

    It is all commands, unless they need more than `orders_max` orders or READS_MAX streams and claims that are unknown.
    """
    keys: set[str] = set()
    orders = count = 0
    for waiting in commands:
        if decided.answered and decided.has_answer(waiting):
            count += 1
            continue
        # What cannot be read concerns its own command alone, whose decision says so.
        with contextlib.suppress(UnreadableEvent, NotLoaded):
            wanted = {key for key in waiting.submission.command.reads(states) if key not in states}
            orders += sum(map(is_order, wanted))
            if keys and (orders > orders_max or len(keys) + len(wanted) > READS_MAX):
                break
            keys |= wanted
        count += 1
    return keys, count
