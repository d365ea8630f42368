"""Projecting in a test's own process, as one look of a worker does."""

from projector.follower import Follower
from service.projections import PROJECTIONS


def sweep(database_url: str) -> None:
    """Bring all projections up to date, and leave word that a worker has looked."""
    for projection in PROJECTIONS:
        follower = Follower(database_url, projection)
        try:
            follower.sweep()
        finally:
            follower.close()
