"""What a process holds: memory and descriptors, by the kernel's own count."""

import contextlib
import os
from pathlib import Path


def resident_bytes(pid: int, figure: str = "VmRSS") -> int:
    """The resident memory of one process; with VmHWM, the most that it ever was."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{figure}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} is gone")


def descriptors(pid: int) -> int:
    """How many files and sockets one process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def session_bytes(leader: int, figure: str = "VmRSS") -> int:
    """The resident memory of a process and of all that it started; with VmHWM, the sum of their peaks."""
    total = 0
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError, AssertionError):
            if os.getsid(int(process.name)) == leader:
                total += resident_bytes(int(process.name), figure)
    return total
