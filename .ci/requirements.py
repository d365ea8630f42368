"""Fails when a locked requirement has no hash, or one of runtime.txt or dev.txt was withdrawn ("yanked")."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
_REQUIREMENT = re.compile(r"^([A-Za-z0-9][\w.-]*(?:\[[\w,-]+\])?)==\S+(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)


def unhashed(text: str) -> list[str]:
    """The requirements of a file that have no SHA-256, and lines that are no pinned requirement at all."""
    without = [name for name, rest in _REQUIREMENT.findall(text) if "--hash=sha256:" not in rest]
    lines = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    return without + [line for line in lines if "==" not in line]


def yanked(path: Path) -> list[str]:
    """What uv says about withdrawn versions. It looks at the index alone, and installs nothing."""
    with tempfile.TemporaryDirectory() as nowhere:
        command = [str(ROOT / ".venv/bin/uv"), "pip", "install", "--dry-run", "--no-deps", "--require-hashes"]
        command += ["--python", sys.executable, "--target", nowhere, "--requirement", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        return [f"uv could not look: {done.stderr.strip().splitlines()[-1]}"]
    return [line for line in done.stderr.splitlines() if "yanked" in line]


def main() -> int:
    """Check all files; returns the exit code."""
    wrong = []
    for path in sorted((ROOT / "requirements").glob("*.txt")):
        wrong += [f"{path.name}: no hash: {it}" for it in unhashed(path.read_text())]
    for name in ("runtime.txt", "dev.txt"):
        wrong += [f"{name}: {it}" for it in yanked(ROOT / "requirements" / name)]
    print("\n".join(wrong) or "every requirement has a hash, and none of runtime.txt and dev.txt is withdrawn")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
