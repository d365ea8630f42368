"""`python -m tests.guards.breaking`: breaks each guard in a copy of the repository, and runs what then has to fail.

Words that are given choose the guards whose description has one of them. Exit code 1 if a test passes all the same.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.guards.guards import GUARDS, Guard

ROOT = Path(__file__).parents[2]
SECONDS_MAX = 180
FAILED = 1  # pytest's exit code when tests ran and failed; another means that they did not run


def main(words: list[str]) -> int:
    chosen = [guard for guard in GUARDS if not words or any(word in guard.what for word in words)]
    if not chosen:
        print(f"no guard's description has one of: {', '.join(words)}")
        return 1
    survived = 0
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / "copy"
        shutil.copytree(
            ROOT,
            copy,
            ignore=shutil.ignore_patterns(".git", ".venv", "data", "node_modules", "__pycache__", ".*_cache"),
        )
        tests = sorted({test for guard in chosen for test in guard.tests})
        if code := run(copy, tests):
            print(f"with nothing broken, pytest already ends with {code}: the guards' tests tell nothing")
            return 1
        for guard in chosen:
            code = broken(copy, guard)
            survived += code != FAILED
            print(f"{'red' if code == FAILED else f'NOT RED ({code})':<12} {guard.what}", flush=True)
    print(f"a test failed for {len(chosen) - survived} of {len(chosen)} guards when they were broken")
    return 1 if survived else 0


def broken(copy: Path, guard: Guard) -> int:
    """Pytest's exit code with the guard broken."""
    file = copy / guard.file
    whole = file.read_text()
    file.write_text(whole.replace(guard.text, guard.broken))
    try:
        return run(copy, guard.tests, SECONDS_MAX)
    except subprocess.TimeoutExpired:
        return FAILED  # hanging is a way to fail
    finally:
        file.write_text(whole)


def run(copy: Path, tests: Iterable[str], seconds_max: float | None = None) -> int:
    """Pytest's exit code. Raises subprocess.TimeoutExpired."""
    command = [sys.executable, "-m", "pytest", "-n0", "-x", "-q", *tests]
    return subprocess.run(command, cwd=copy, timeout=seconds_max, capture_output=True, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
