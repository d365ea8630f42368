"""The figures of the projector: batches by phase, failures, and how long events took to become visible."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from projector.loop import Progress

BATCH_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
BATCH_EVENTS = (1, 10, 100, 1_000, 5_000, 10_000)
DELAY_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


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

    def of(self, projection: str) -> "ProjectionMetrics":
        return ProjectionMetrics(self, projection)


class ProjectionMetrics:
    """The figures of one projection, with its labels looked up once."""

    def __init__(self, all_of_them: ProjectorMetrics, projection: str) -> None:
        seconds, errors = all_of_them.batch_seconds, all_of_them.errors
        self._read, self._fold, self._write, self._commit = (
            seconds.labels(projection, phase) for phase in ("read", "fold", "write", "commit")
        )
        self._events = all_of_them.batch_events.labels(projection)
        self._delay = all_of_them.delay.labels(projection)
        self._errors = {kind: errors.labels(projection, kind) for kind in ("database", "fault", "event")}

    def projected(self, progress: Progress, delay_seconds: float) -> None:
        """A batch was committed."""
        self._read.observe(progress.read_seconds)
        self._fold.observe(progress.fold_seconds - progress.read_seconds)
        self._write.observe(progress.write_seconds)
        self._commit.observe(progress.commit_seconds)
        self._events.observe(progress.events)
        self._delay.observe(delay_seconds)
        if progress.parked:
            self._errors["event"].inc(len(progress.parked))

    def failed(self, kind: str) -> None:
        """A batch failed, for the reason `database` or `fault`."""
        self._errors[kind].inc()
