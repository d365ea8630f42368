"""The metrics of all API processes behind one port: each leaves its figures in a file, and a scrape adds them up."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
from prometheus_client.core import Metric
from prometheus_client.samples import Sample

PUBLISH_EVERY_SECONDS = 1
# A process that has not published for so long is dead or stands still: its gauges no longer count.
GAUGE_SECONDS_MAX = 5

# The name of a sample, and its labels in their order.
_Key = tuple[str, tuple[tuple[str, str], ...]]
# Family, type of the family, name of the sample, labels, value.
_decode = msgspec.json.Decoder(list[tuple[str, str, str, tuple[tuple[str, str], ...], float]]).decode


class SharedFigures:
    """The figures of several processes in one directory.

    Every scrape reads the same files, after its own process has published. So a counter never decreases from one
    scrape to the next, and another process's share of it is at most PUBLISH_EVERY_SECONDS old. The file of a process
    that has ended stays: its counters still count.
    """

    def __init__(self, directory: Path, families: Callable[[], list[Metric]]) -> None:
        self._directory = directory
        self._families = families
        # A process id may be used again by a later process, which must not replace this file.
        self._own = directory / f"{os.getpid()}-{time.time_ns()}.json"

    def total(self) -> list[Metric]:
        """The families of this process, with the figures of all processes added up."""
        with suppress(OSError):  # a full disk: the figures of a moment ago are shown
            self.publish()
        sums: dict[str, dict[_Key, float]] = {}
        for path in self._directory.glob("*.json"):
            is_alive = time.time() - path.stat().st_mtime < GAUGE_SECONDS_MAX
            for of, kind, name, labels, value in _decode(path.read_bytes()):
                if is_alive or kind != "gauge":
                    of_family = sums.setdefault(of, {})
                    of_family[name, labels] = of_family.get((name, labels), 0) + value
        families = self._families()
        for family in families:
            # A route that only another process has answered has no sample in this one.
            family.samples = [
                Sample(name, dict(labels), value) for (name, labels), value in sums.get(family.name, {}).items()
            ]
        return families

    def publish(self) -> None:
        """Write this process's figures, in one step for those who read."""
        figures = [
            (family.name, family.type, it.name, tuple(it.labels.items()), it.value)
            for family in self._families()
            for it in family.samples
        ]
        new = self._own.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(figures))
        new.replace(self._own)

    @asynccontextmanager
    async def published(self) -> AsyncIterator[None]:
        """Publish once a second, and a last time at the end."""
        publishing = asyncio.create_task(self._publish_for_ever(), name="metrics")
        try:
            yield
        finally:
            publishing.cancel()
            with suppress(OSError):
                self.publish()

    async def _publish_for_ever(self) -> None:
        while True:
            with suppress(OSError):  # a full disk: the next second may find room
                self.publish()
            await asyncio.sleep(PUBLISH_EVERY_SECONDS)
