"""The metrics of all API processes behind one port: each leaves its figures in a file, and a scrape adds them up."""

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from prometheus_client.core import Metric

PUBLISH_EVERY_SECONDS = 1
# A process that has not published for so long is dead or stands still: its gauges no longer count.
GAUGE_SECONDS_MAX = 5


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
        sums = Counter[str]()
        for path in self._directory.glob("*.json"):
            is_alive = time.time() - path.stat().st_mtime < GAUGE_SECONDS_MAX
            for key, (kind, value) in json.loads(path.read_bytes()).items():
                if is_alive or kind != "gauge":
                    sums[key] += value
        families = self._families()
        for family in families:
            family.samples = [it._replace(value=sums[_key(it.name, it.labels)]) for it in family.samples]
        return families

    def publish(self) -> None:
        """Write this process's figures, in one step for those who read."""
        figures = {
            _key(it.name, it.labels): (family.type, it.value) for family in self._families() for it in family.samples
        }
        new = self._own.with_suffix(".new")
        new.write_text(json.dumps(figures))
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


def _key(name: str, labels: dict[str, str]) -> str:
    return json.dumps([name, labels], sort_keys=True)
