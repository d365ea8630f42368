"""Load from wrk: as many requests as fit into some seconds over some connections, each waiting for its answer."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.options import BenchError

SCRIPTS = Path(__file__).resolve().parent / "wrk"
# One thread of wrk makes several times the load that any contender takes, and leaves them the more of two cores.
THREADS = 1
TIMEOUT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw. `refused` are answers with a status of 400 or above, `broken` requests without an answer."""

    requests: int
    refused: int
    broken: int
    seconds: float
    p50_ms: float
    p90_ms: float
    p99_ms: float

    @property
    def answered(self) -> int:
        """The answers that count."""
        return self.requests - self.refused

    @property
    def per_second(self) -> float:
        return self.answered / self.seconds


def program() -> str:
    """Where wrk is. Raises BenchError when it is not installed."""
    found = shutil.which("wrk")
    if found is None:
        raise BenchError("wrk, which makes the load, is not installed: apt-get install wrk")
    return found


def run(base_url: str, script: str, connections: int, seconds: float, *arguments: object) -> Load:
    """Put one script's load on a server. Raises BenchError when wrk fails."""
    command = [program(), f"--threads={THREADS}", f"--connections={connections}", f"--duration={_whole(seconds)}s"]
    command += [
        f"--timeout={TIMEOUT_SECONDS}s",
        "--script",
        str(SCRIPTS / script),
        base_url,
        "--",
        *map(str, arguments),
    ]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "BENCH_SCRIPTS": str(SCRIPTS)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise BenchError(f"wrk failed: {(done.stderr or done.stdout).strip().splitlines()[-1]}")
    return parse(done.stdout)


def parse(output: str) -> Load:
    """Read the line that wrk/report.lua prints. Raises BenchError when it is not there."""
    for line in output.splitlines():
        if line.startswith("{"):
            return Load(**json.loads(line))
    raise BenchError(f"wrk reported nothing: {output.strip()[-200:]}")


def _whole(seconds: float) -> int:
    return max(1, round(seconds))
