"""The figures of the projector: batches by phase, failures, and how long events took to become visible."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from projector.loop import Progress

BATCH_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
BATCH_EVENTS = (1, 10, 100, 1_000, 5_000, 10_000)
DELAY_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
PHASES = ("read", "fold", "write", "commit")
KINDS = ("database", "fault", "event")


class ProjectorMetrics:
    """The figures of all projections of a process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.batch_seconds = Histogram(
            "orders_projection_batch_duration_seconds",
            "Time of a batch, by phase: read, fold, write, commit",
            ["projection", "phase"],
            buckets=BATCH_SECONDS,
            registry=registry,
        )
        self.batch_events = Histogram(
            "orders_projection_batch_events",
            "Events of a batch",
            ["projection"],
            buckets=BATCH_EVENTS,
            registry=registry,
        )
        self.delay = Histogram(
            "orders_visible_delay_seconds",
            "Time from the append of a batch's oldest event until the batch was visible",
            ["projection"],
            buckets=DELAY_SECONDS,
            registry=registry,
        )
        self.errors = Counter(
            "orders_projection_errors",
            "Failed batches (kind database or fault), and streams that were parked (kind event)",
            ["projection", "kind"],
            registry=registry,
        )

    def make_labels(self, projection: str) -> None:
        """All figures of a projection, at 0."""
        for phase in PHASES:
            self.batch_seconds.labels(projection, phase)
        for kind in KINDS:
            self.errors.labels(projection, kind)
        self.batch_events.labels(projection)
        self.delay.labels(projection)

    def projected(self, projection: str, progress: Progress, delay_seconds: float) -> None:
        folding = progress.fold_seconds - progress.read_seconds
        seconds = (progress.read_seconds, folding, progress.write_seconds, progress.commit_seconds)
        for phase, taken in zip(PHASES, seconds, strict=True):
            self.batch_seconds.labels(projection, phase).observe(taken)
        self.batch_events.labels(projection).observe(progress.events)
        self.delay.labels(projection).observe(delay_seconds)
        self.errors.labels(projection, "event").inc(len(progress.parked))
