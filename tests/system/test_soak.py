"""A minute of load and some seconds of too much of it: `make soak`, shortened."""

from pathlib import Path

import pytest

from tests.system.soak import soak

SECONDS, OVERLOAD_SECONDS = 60, 20


@pytest.mark.alone
def test_nothing_grows_and_an_overload_passes(tmp_path: Path, is_long: bool) -> None:
    if not is_long:
        pytest.skip("it needs the machine for itself: --long")
    assert soak(tmp_path, SECONDS, OVERLOAD_SECONDS, seed=1) == []
