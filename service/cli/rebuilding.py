"""`orders replay --processes N`: rebuild several projections at the same time, each in a process of its own."""

import logging
import os
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import active_children, get_context
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from projector.projection import Projection
    from projector.shadow import Report


class Rebuilt(NamedTuple):
    """A projection that was rebuilt from `events` events in `seconds`."""

    name: str
    events: int
    seconds: float


def one(url: str, projection: "Projection", report: "Report") -> Rebuilt:
    """Rebuild a projection in this process; `report` is called after each batch. Raises what `replay` raises."""
    from projector.replay import replay

    started = time.monotonic()
    reached = replay(url, projection, report)
    return Rebuilt(projection.name, reached.position, time.monotonic() - started)


def several(url: str, names: Sequence[str], processes: int) -> Iterator[Rebuilt]:
    """Rebuild projections in so many processes at most, the first named first; yields each when it serves.

    If one fails, those under way are finished, no other is begun, and its error is raised.
    """
    with ProcessPoolExecutor(min(processes, len(names)), get_context("spawn"), _begin) as pool, _passing_ctrl_c():
        running: set[Future[Rebuilt]] = {pool.submit(_quietly, url, name) for name in names}
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                if error := future.exception():
                    pool.shutdown(cancel_futures=True)
                    raise error
                yield future.result()


@contextmanager
def _passing_ctrl_c() -> Iterator[None]:
    """Interrupt the processes too; each drops what it has built."""
    try:
        yield
    except KeyboardInterrupt:
        for process in active_children():
            if process.pid is not None:
                os.kill(process.pid, signal.SIGINT)
        raise


def _begin() -> None:
    # Ctrl-C in the terminal reaches the parent alone, which interrupts the processes that are rebuilding.
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # An interrupted transaction has psycopg warn that its rollback failed; the connection ends in any case.
    logging.getLogger("psycopg").setLevel(logging.ERROR)


def _quietly(url: str, name: str) -> Rebuilt:
    from service.cli.read_tables import interruptible, named

    with interruptible() as noticing:
        return one(url, named([name])[0], noticing(lambda _: None))
