import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a space in its name, which the servers' user may pass through (pytest's own it may not)."""
    directory = Path(tempfile.mkdtemp(prefix="orders test "))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def unwritable(place: Path) -> Path:
    """A directory in which nothing can be made, not even by root."""
    if os.geteuid() == 0:
        return Path("/proc/self")
    closed = place / "closed"
    closed.mkdir(mode=0o500)
    return closed
