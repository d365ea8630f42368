"""A real browser, without internet: what a page holds when its scripts have run."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest


def browsed(url: str, profile: Path) -> subprocess.CompletedProcess[str]:
    """Open the page. Its document is on stdout, its console on stderr. Skips the test where there is no Chromium."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        if os.environ.get("CI"):
            pytest.fail("no Chromium: install the package chromium")
        pytest.skip("no Chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}", "--enable-logging=stderr"]
    # No name is resolved: a page that needed another host would stay empty.
    options += ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--virtual-time-budget=20000"]
    command = [chromium, *options, "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
