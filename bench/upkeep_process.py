"""Fold a log with the code that PYTHONPATH names, and print the seconds of the clock and of CPU: see upkeep.py."""

import json
import os
import sys
import time
from collections.abc import Sequence

import psycopg

from projector.projection import Projection
from projector.replay import replay
from projector.worker import Projectors
from service.cli import rebuilding
from service.garbage import collect_seldom
from service.projections import named

LOOK_SECONDS = 0.02


def follow(url: str, projections: Sequence[Projection]) -> None:
    """Run the worker's followers until all tables have the whole log."""
    projectors = Projectors(url, projections)
    behind = " OR ".join(f"(SELECT position FROM {it.name}.checkpoint) < position" for it in projections)  # noqa: S608 - the names are ours
    projectors.start()
    projectors.wake()
    with psycopg.connect(url, autocommit=True) as connection:
        query = f"SELECT {behind} FROM log.head".encode()  # noqa: S608 - as above
        while (row := connection.execute(query).fetchone()) and row[0]:
            time.sleep(LOOK_SECONDS)  # the projections go on in threads meanwhile
    projectors.stop()
    projectors.close()


def _cpu_seconds() -> float:
    """Of this process, and of its children that have ended."""
    return sum(os.times()[:4])


def main() -> None:
    """Fold as the arguments say: the database's URL, the way, and the projections."""
    url, way, *names = sys.argv[1:]
    projections = named(names)
    collect_seldom()
    began = time.monotonic(), _cpu_seconds()
    if way == "live":
        follow(url, projections)
    elif way == "two replays at a time":
        for _ in rebuilding.rebuild_several(url, names, 2):
            pass
    else:
        for projection in projections:
            replay(url, projection, lambda _: None)
    print(json.dumps([time.monotonic() - began[0], _cpu_seconds() - began[1]]))


if __name__ == "__main__":
    main()
