"""Projecting in a test's own process, as one look of a worker does."""

import contextlib
import threading
from collections.abc import Iterator

from projector.follower import Follower
from service.projections import PROJECTIONS

LOOK_EVERY_SECONDS = 0.01


def sweep(database_url: str) -> None:
    """Bring all projections up to date, and leave word that a worker has looked."""
    for projection in PROJECTIONS:
        follower = Follower(database_url, projection)
        try:
            follower.sweep()
        finally:
            follower.close()


@contextlib.contextmanager
def projected(database_url: str) -> Iterator[None]:
    """Keep the read tables up to date, without a broker: look at the log again and again."""
    stopping = threading.Event()

    def project() -> None:
        followers = [Follower(database_url, projection) for projection in PROJECTIONS]
        while not stopping.wait(LOOK_EVERY_SECONDS):
            for follower in followers:
                follower.sweep()
        for follower in followers:
            follower.close()

    thread = threading.Thread(target=project, name="projecting")
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()
