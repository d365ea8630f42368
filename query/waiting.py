"""The reads of a process that wait for their Sync-Token: counted in one place, and limited."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Histogram

from contract.callers import Caller
from contract.problems import Problem

# A waiting read costs a little memory and no work, so the limit of requests under way leaves it out.
WAITING_MAX = 1_000
CUSTOMERS_WAITING_MAX = 20  # of one customer, who must not use up the room of all
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30)


class WaitingReads:
    """Counts the reads that wait. Every `Sync` of a process shares one, and the connections' limit asks it."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.count = 0
        self._of_customers = Counter[str]()
        waits = Histogram(
            "orders_read_wait_seconds",
            "Time that a read with a Sync-Token waited, by outcome: fresh (not at all), waited, behind (timed out)",
            ["outcome"],
            buckets=SECONDS,
            registry=registry,
        )
        self.fresh, self.waited, self.behind = (waits.labels(it) for it in ("fresh", "waited", "behind"))

    @contextmanager
    def one_more(self, caller: Caller) -> Iterator[None]:
        """Count one read of `caller` while the block runs.

        Raises Problem `overloaded` when too many wait already, and `rate-limited` when too many of a customer do.
        """
        if self.count >= WAITING_MAX:
            raise Problem("overloaded", f"{WAITING_MAX} reads of this process wait for their Sync-Token already.")
        if not caller.viewer.everyone and self._of_customers[caller.account] >= CUSTOMERS_WAITING_MAX:
            detail = f"{CUSTOMERS_WAITING_MAX} reads of the account wait for their Sync-Token already."
            raise Problem("rate-limited", detail, headers={"Retry-After": "1"})
        self.count += 1
        self._of_customers[caller.account] += 1
        try:
            yield
        finally:
            self.count -= 1
            self._of_customers[caller.account] -= 1
            self._of_customers += Counter()  # forgets the accounts that do not wait
