"""Named steps of the service's work, at which a process can be made to stop and stay, until it is killed or let go.

A step is armed by a file; the first process that comes there takes it, and stands still in the middle of what it does:
with its transaction open, its answer not sent, its tables half renamed. So a test decides what dies just then.
"""

from pathlib import Path

from tests.builders import wait_until
from tests.sabotage.imports import environment
from tests.sabotage.stopping import VARIABLE


class Steps:
    """The steps of the processes that run with `environment`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir()
        self.environment = environment(**{VARIABLE: str(directory)})

    def arm(self, step: str) -> None:
        """Stop the next process that comes there."""
        (self._directory / step).touch()

    def wait_until_reached(self, step: str, seconds: float = 20) -> None:
        wait_until((self._directory / f"{step}.reached").exists, seconds, f"a process at {step}")

    def release(self, step: str) -> None:
        """Let the process go on, if it is still there."""
        (self._directory / f"{step}.reached").unlink()
