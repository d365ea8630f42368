"""What a look at a checkpoint finds, the errors that it may raise, and this worker's name.

A checkpoint is one row beside the tables of a projection. projector/writer.py has the statements.
"""

import os
import socket
from typing import NamedTuple

WORKER = f"{socket.gethostname()}:{os.getpid()}"


class AheadOfLog(Exception):
    """The read tables are ahead of the log: it was restored without them."""


class OtherVersion(Exception):
    """Another version of the projection built the tables: `built` is theirs, `ours` is this release's."""

    def __init__(self, name: str, built: int, ours: int) -> None:
        super().__init__(f"the tables of {name} are of version {built}, this release has version {ours}")
        self.built, self.ours = built, ours


class Fenced(Exception):
    """Another process moved the checkpoint in the middle of a batch; this batch was rolled back."""


class Seen(NamedTuple):
    """The checkpoint and the head of the log, as one statement read them."""

    position: int
    head: int
    version: int
    parked: int
    parked_changes: int
    last_skip: int
