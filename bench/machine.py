"""Where and with what the figures were made."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from bench import load
from bench.stage import ROOT, Stage, execute
from service.embedded import valkey_program

PACKAGES = ("fastapi", "uvicorn", "uvloop", "httptools", "pydantic", "psycopg", "sqlalchemy", "msgspec", "dramatiq")
POSTGRES_SETTINGS = (
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "shared_buffers",
    "work_mem",
    "maintenance_work_mem",
    "max_wal_size",
    "max_connections",
)


def facts(stage: Stage) -> dict[str, object]:
    """The machine, the versions, and the settings of PostgreSQL."""
    kib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
    settings = {name: execute(stage.postgres.url, f"SHOW {name}")[0][0] for name in POSTGRES_SETTINGS}
    return {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _output("git", "-C", str(ROOT), "describe", "--always", "--dirty"),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(kib / 1024**2, 1),
        "load_before": os.getloadavg()[0],
        "kernel": platform.release(),
        "filesystem": _output("stat", "--file-system", "--format=%T", str(stage.directory)),
        "python": platform.python_version(),
        "postgresql": execute(stage.postgres.url, "SHOW server_version")[0][0],
        "valkey": _output(str(valkey_program()), "--version"),
        "wrk": _output(load.program(), "-v"),
        "packages": {name: version(name) for name in PACKAGES},
        "postgresql_settings": settings,
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _output(*command: str) -> str:
    """The first line that a command prints; empty when it is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return (done.stdout.strip().splitlines() or [""])[0]
