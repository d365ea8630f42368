"""Fills a batch step by step: loads what the next commands read, decides them, and ends when the batch is full.

Only the loaded order tells how large a command is, so the first steps are small.
"""

import contextlib
from collections.abc import Iterable, Sequence
from itertools import islice

from psycopg import AsyncConnection

from command.deciding import BATCH_BYTES_MAX, Decided, decide
from command.loading import Loader
from command.states import NotLoaded, States, is_order
from command.waiting import Waiting
from eventlog.codec import UnreadableEvent

# The first step of a batch reads this many orders at most, and each further step four times as many, up to ORDERS_MAX.
FIRST_ORDERS_MAX, ORDERS_MAX = 1, 64
# A command may read many orders by itself. They are read in parts, which grow until one has this much data.
LARGE_BYTES = 256 * 1024
# A step reads this many streams and claims at most.
READS_MAX = 2_000


async def fill(
    decided: Decided, commands: Sequence[Waiting], states: States, connection: AsyncConnection, loader: Loader
) -> None:
    """Decide as many commands as fit into the batch. The caller must hold the log's head."""
    orders_max = FIRST_ORDERS_MAX
    while commands := decided.admit(commands, states):
        ready, at_once = len(commands), orders_max
        while True:
            unknown, ready = missing(commands[:ready], decided, states, at_once)
            if not unknown:
                break
            decided.rows += len(unknown)
            bytes_read = await states.load(connection, unknown, loader)
            decided.data_bytes += bytes_read
            if 0 < bytes_read < LARGE_BYTES:
                at_once = min(4 * at_once, ORDERS_MAX)
            is_large = decided.in_order and decided.data_bytes >= BATCH_BYTES_MAX
            if is_large and missing(commands[:ready], decided, states, at_once)[0]:
                # One command reads more than a batch does. The next batch reads on: others have the head between.
                decided.put_back += commands
                decided.reads_on = True
                return
        decide(commands[:ready], decided, states)
        commands = commands[ready:]
        orders_max = min(4 * orders_max, ORDERS_MAX)


def missing(commands: Iterable[Waiting], decided: Decided, states: States, orders_max: int) -> tuple[set[str], int]:
    """The unknown streams and claims that the next step must load, and the number of commands that need them.

    The step takes all commands, unless they need more than `orders_max` unknown orders or READS_MAX unknown keys. If
    one command alone needs more orders, the step loads only `orders_max` of them.
    """
    keys: set[str] = set()
    orders = count = 0
    for waiting in commands:
        if decided.answered and decided.has_answer(waiting):
            count += 1
            continue
        # A command whose states cannot be read fails alone: `decide` raises the same error for it.
        with contextlib.suppress(UnreadableEvent, NotLoaded):
            wanted = {key for key in waiting.submission.command.reads(states) if key not in states}
            orders += sum(map(is_order, wanted))
            if keys and (orders > orders_max or len(keys) + len(wanted) > READS_MAX):
                break
            keys |= wanted if orders <= orders_max else set(islice(filter(is_order, wanted), orders_max))
        count += 1
    return keys, count
