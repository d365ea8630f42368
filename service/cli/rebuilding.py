"""`orders replay`: rebuilds each projection in a process of its own, several at the same time."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from multiprocessing import active_children, get_context
from multiprocessing.sharedctypes import RawArray
from types import FrameType
from typing import Any, NamedTuple

from projector.loop import Progress
from projector.replay import replay
from projector.shadow import Report
from service.errors import INTERRUPTED
from service.garbage import collect_seldom
from service.lifeline import die_with_parent
from service.projections import named

LOOK_SECONDS = 0.2

# In each process: the position that each projection has reached, and after it the goal. All processes share it.
_SHARED: ContextVar[Any] = ContextVar("shared")


class Rebuilt(NamedTuple):
    """A projection that was rebuilt from `events` events in `seconds`."""

    name: str
    events: int
    seconds: float


def rebuild_several(
    url: str, names: Sequence[str], processes: int, report: Report = lambda _: None
) -> Iterator[Rebuilt]:
    """Rebuild projections in so many processes at most, the first named first; yields each when it serves.

    `report` gets the sum of all. If one fails, no other is begun. Those under way are finished and yielded, and then
    its error is raised: one that `replay` raises.
    """
    left, processes = enumerate(names), min(processes, len(names))
    shared: Any = RawArray("q", 2 * len(names))
    failure: BaseException | None = None
    # Forked, because a new interpreter would import the service again.
    pool = ProcessPoolExecutor(processes, get_context("fork"), _begin, (shared,))
    with pool, _passing_ctrl_c():
        # The processes inherit it, and unblock it when they have left the terminal's group.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            running = {pool.submit(_rebuild, url, name, number) for number, name in islice(left, processes)}
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        while running:
            done, running = wait(running, LOOK_SECONDS, FIRST_COMPLETED)
            report(Progress(sum(shared[::2]), len(names) * max(shared[1::2]), 0))
            for future in done:
                if error := future.exception():
                    failure = failure or error
                else:
                    yield future.result()
            if failure is None:
                running |= {pool.submit(_rebuild, url, name, number) for number, name in islice(left, len(done))}
    if failure is not None:
        raise failure


@contextmanager
def _passing_ctrl_c() -> Iterator[None]:
    """Interrupt the processes too; each drops what it has built."""
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):  # GeneratorExit: Ctrl-C came while the caller had what was yielded
        for process in active_children():
            if process.pid is not None:
                os.kill(process.pid, signal.SIGINT)
        raise


def _begin(shared: object) -> None:
    die_with_parent(signal.SIGKILL)  # a killed `orders replay` must not go on rebuilding
    # Ctrl-C in the terminal reaches the parent alone, which interrupts the processes that are rebuilding.
    _SHARED.set(shared)
    os.setpgid(0, 0)
    if signal.SIGINT in signal.sigpending():
        os._exit(INTERRUPTED)  # the parent got the same, or has passed its own on
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    collect_seldom()


def _rebuild(url: str, name: str, number: int) -> Rebuilt:
    with interruptible() as check:

        def report(reached: Progress) -> None:
            check()
            _SHARED.get()[2 * number : 2 * number + 2] = reached.position, reached.head

        started = time.monotonic()
        reached = replay(url, named([name])[0], report)
        return Rebuilt(name, reached.position, time.monotonic() - started)


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """Yield a check that raises KeyboardInterrupt if a Ctrl-C got lost.

    Python raises it wherever it happens to be. While psycopg waits for a lock, the time-out of that lock may come first
    and take its place.
    """
    interrupted = False

    def note(signal_number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        interrupted = True
        signal.default_int_handler(signal_number, frame)

    def check() -> None:
        if interrupted:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield check
    finally:
        signal.signal(signal.SIGINT, before)
