"""The figures of the write side: commands by outcome, batches, and what was appended."""

from collections import Counter as Counts
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram

from eventlog.batch import NewEvent

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
DECISIONS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class CommandMetrics:
    """Counts commands by their name, their outcome, and the code of the problem that refused them."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        labels = ("command", "outcome", "code")
        self._commands = Counter("orders_commands", "Commands by outcome", labels, registry=registry)

    def count(self, command: str, outcome: str, code: str = "") -> None:
        self._commands.labels(command, outcome, code).inc()


class WriterMetrics:
    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._wait = Histogram(
            "orders_writer_wait_seconds",
            "Time that the oldest command of a batch waited for it to begin",
            buckets=SECONDS,
            registry=registry,
        )
        self._append = Histogram(
            "orders_append_duration_seconds",
            "Time of a batch, from waiting for the log's head to the end of its COMMIT",
            buckets=SECONDS,
            registry=registry,
        )
        self._decisions = Histogram(
            "orders_append_batch_decisions", "Commands that a batch answered", buckets=DECISIONS, registry=registry
        )
        self._events = Counter("orders_events_appended", "Events appended by type", ["type"], registry=registry)

    def waited(self, seconds: float) -> None:
        self._wait.observe(seconds)

    def appended(self, seconds: float, decisions: int, events: Sequence[NewEvent]) -> None:
        self._append.observe(seconds)
        self._decisions.observe(decisions)
        for kind, number in Counts([it.type for it in events]).items():
            self._events.labels(kind).inc(number)
