"""`python -m tests.clients.baseline` records what callers may rely on from now on: the surface of openapi.json.

It refuses changes that break callers, unless they are accepted: `--accept-breaking`. docs/clients.md has the rules.
"""

import json
import sys
from pathlib import Path

from tests.clients.compatibility import Surface, breaking, surface_of

ROOT = Path(__file__).parents[2]
BASELINE = Path(__file__).with_name("baseline.txt")


def recorded() -> Surface:
    return Surface.read(BASELINE.read_text().splitlines())


def current() -> Surface:
    return surface_of(json.loads((ROOT / "openapi.json").read_text()))


def record(arguments: list[str]) -> int:
    """Write the baseline anew. Returns the exit code."""
    found = breaking(recorded(), current()) if BASELINE.exists() else []
    if found and arguments != ["--accept-breaking"]:
        print("These changes break callers:", *found, sep="\n", file=sys.stderr)
        return 1
    BASELINE.write_text("\n".join(current().lines()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(record(sys.argv[1:]))
