"""A process under measurement: started, waited for, weighed, stopped."""

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from bench.options import BenchError
from service.lifeline import tied

START_SECONDS_MAX = 30
STOP_SECONDS_MAX = 15
LOOK_SECONDS = 0.05


class Process:
    """A command in a session of its own, whose output goes to a file."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], directory: Path) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self._directory = directory
        self._log = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                tied(self._command, signal.SIGTERM),
                env=self._environment,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS_MAX)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait_until_answers(self, url: str) -> None:
        """Wait for a 200. Raises BenchError with the process's last line when there will be none."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline and self.is_running:
            with contextlib.suppress(URLError, OSError), urlopen(url, timeout=1):  # noqa: S310 - http, always
                return
            time.sleep(LOOK_SECONDS)
        raise BenchError(f"{self.name} does not answer: {self.last_line()}")

    def wait(self) -> tuple[float, int]:
        """Wait for the end of a process that ends by itself. Returns its seconds and its peak memory in bytes.

        Raises BenchError when it fails. The peak is the kernel's own count (VmHWM), read until it ends; the one that
        wait4 tells would include what this process was before it became the program.
        """
        assert self._process is not None
        started = time.monotonic()
        peak = 0
        while self._process.poll() is None:
            peak = max(peak, _status(self._process.pid, "VmHWM"))
            time.sleep(LOOK_SECONDS)
        seconds = time.monotonic() - started
        if self._process.returncode:
            raise BenchError(f"{self.name} failed: {self.last_line()}")
        return seconds, peak

    def memory(self) -> int:
        """The resident memory in bytes of the process and all that it started."""
        assert self._process is not None
        session = self._process.pid
        return sum(_status(pid, "VmRSS") for pid in _pids() if _session(pid) == session)

    def cpu_seconds(self) -> float:
        """The CPU time that the process and all that it started have taken, in seconds."""
        assert self._process is not None
        session = self._process.pid
        return sum(_cpu_seconds(pid) for pid in _pids() if _session(pid) == session)

    def last_line(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines() if self._log.exists() else []
        return lines[-1] if lines else "it said nothing"


def _pids() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]


def _session(pid: int) -> int:
    with contextlib.suppress(OSError):
        return os.getsid(pid)
    return -1


def _status(pid: int, name: str) -> int:
    """A size in /proc/<pid>/status, in bytes; 0 when the process is gone."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0


def cpu_seconds_of_server(pid: int) -> float:
    """The CPU time that a process and its children have taken, also those that have ended, in seconds."""
    return _cpu_seconds(pid, ended_children=True) + sum(_cpu_seconds(it) for it in _pids() if _parent(it) == pid)


def _cpu_seconds(pid: int, *, ended_children: bool = False) -> float:
    """The process's CPU time, in seconds; 0 when the process is gone.

    That of ended children is in /proc/<pid>/stat (proc(5)) alone, in ticks of 10 ms. The process's own clock, whose id
    is made as clock_getcpuclockid(3) does it, counts nanoseconds.
    """
    if ended_children:
        return sum(map(int, _stat(pid)[11:15])) / os.sysconf("SC_CLK_TCK")
    with contextlib.suppress(OSError):
        return time.clock_gettime((~pid << 3) | 2)
    return 0.0


def _parent(pid: int) -> int:
    return int((_stat(pid) or ["", "-1"])[1])


def _stat(pid: int) -> list[str]:
    """/proc/<pid>/stat from the process's state on (proc(5)); empty when the process is gone."""
    with contextlib.suppress(OSError):
        # The command's name comes before, in parentheses, and may hold anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []
