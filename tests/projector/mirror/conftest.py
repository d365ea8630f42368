"""A target for each database that can be a mirror."""

from pathlib import Path

import pytest

TARGETS = ("sqlite",)


@pytest.fixture(params=TARGETS)
def target_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, once for each dialect."""
    return f"sqlite:///{tmp_path / 'app.db'}"
