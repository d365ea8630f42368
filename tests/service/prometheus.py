"""Debian's promtool, for tests; they are skipped without it, but fail where CI is set."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

PROMTOOL = pytest.mark.skipif(
    shutil.which("promtool") is None and not os.environ.get("CI"),
    reason="promtool is not installed: apt-get install prometheus",
)


def promtool(*arguments: str | Path, given: bytes | None = None) -> str:
    """Run promtool. Returns its output; fails the test when promtool fails."""
    program = shutil.which("promtool")
    assert program, "promtool is not installed, and CI is set"
    done = subprocess.run([program, *arguments], capture_output=True, check=False, input=given)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said
