"""The life of an embedded server: claim the directory, clear what a crash left, launch, wait, stop."""

import contextlib
import errno
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Self

from service.embedded.account import Account, account_for
from service.embedded.locks import POLL_SECONDS, Lock
from service.errors import OperatorError
from service.lifeline import tied

START_SECONDS_MAX = 120  # recovery after a crash included
OWNER_WAIT_SECONDS = 0.2  # another process may be testing the lock
LOG_BYTES_MAX = 16 * 1024 * 1024


class EmbeddedServer(ABC):
    """A server on a data directory, as a child of this process.

    start() and stop() may be repeated, and start() after the server died by itself starts it again under the same URL.
    The server also stops, cleanly, when the thread that called start() ends: call it from one that lives long enough.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    # How to stop it: ever harder signals, each with the seconds to wait for its effect.
    stop_signals: ClassVar[Sequence[tuple[signal.Signals, float]]]

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.absolute()
        self.directory = self.data_dir / self.name
        self.log_path = self.data_dir / f"{self.name}.log"
        self._owner = Lock(self.data_dir / "locks" / f"{self.name}.owner")
        self._running = Lock(self.data_dir / "locks" / f"{self.name}.running")
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL for clients; the same before and after a restart."""

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.title} is not started")
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> str:
        """Start the server and return its URL once it answers.

        Raises OperatorError when the directory cannot be used, is in use by another, or the server does not start.
        """
        if self.is_alive():
            return self.url
        self.claim()
        try:
            with self._directory_errors():
                account = account_for(self.directory)
                self._clear_leftovers()
                self._prepare(account)
                self._launch(account)
                self._wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self.url

    def claim(self) -> None:
        """Take the directory for this process, as start() does first. Raises OperatorError when another has it."""
        with self._directory_errors():
            if self._owner.acquire(OWNER_WAIT_SECONDS):
                self._owner.sign(os.getpid())
                return
        raise OperatorError(
            f"{self.data_dir} is in use by another `orders up` (process {self._owner.signer()}): "
            "stop that one, or choose another --data-dir"
        )

    def stop(self) -> None:
        """Stop the server cleanly, by force only when it does not react, and free the directory."""
        process, self._process = self._process, None
        if process is not None:
            _end(process, self.stop_signals)
            self._clean_up()
        self._running.release()
        self._owner.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def _prepare(self, account: Account) -> None:
        """Make the directory ready for the server to start on."""

    @abstractmethod
    def _command(self) -> list[str]:
        """Return the program and its arguments."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Say whether the server takes requests."""

    def _clean_up(self) -> None:  # noqa: B027 -- most have nothing there
        """Remove what is outside the data directory."""

    @contextlib.contextmanager
    def _directory_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            where = error.filename or self.data_dir
            said = f"{self.title} cannot use {where}: {error.strerror}"
            raise OperatorError(with_remedy(said, "; correct that, or choose another --data-dir")) from error

    def _clear_leftovers(self) -> None:
        """Wait until no process of an earlier start is left; ask it to stop if its own lifeline did not."""
        if self._running.acquire():
            return
        for with_signal, seconds in self.stop_signals:
            pid = self._running.signer()
            if pid is not None and works_in(pid, self.directory):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, with_signal)
            if self._running.acquire(seconds):
                return
        raise OperatorError(
            f"{self.title} of an earlier run still runs on {self.directory} (process {self._running.signer()}) "
            "and does not stop: end it by hand"
        )

    def _launch(self, account: Account) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self.log_path.stat().st_size > LOG_BYTES_MAX:
                self.log_path.replace(self.log_path.with_suffix(".log.old"))
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                tied(self._command(), self.stop_signals[0][0], account.user),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env={"LC_ALL": "C", "PATH": os.defpath, "TZ": "UTC"},
                pass_fds=(self._running.descriptor,),
                # Ctrl-C in the terminal reaches the supervisor alone, which stops things in order.
                start_new_session=True,
            )
        self._running.sign(self._process.pid)
        self._running.forget()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        while not self._is_ready():
            if not self.is_alive():
                complaint = with_remedy(self._complaint())
                raise OperatorError(f"{self.title} did not start: {complaint} (all of it: {self.log_path})")
            if time.monotonic() > deadline:
                raise OperatorError(f"{self.title} is not ready after {START_SECONDS_MAX} s: see {self.log_path}")
            time.sleep(POLL_SECONDS)

    def _complaint(self) -> str:
        """Return the line of this start's log that most likely says what is wrong, and its details."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        for line, following in pairwise([*lines, ""]):
            if "FATAL" in line or "PANIC" in line:
                detail = following.partition("DETAIL:")[2]
                return f"{line}:{detail}" if detail else line
        return next(iter(lines[-1:]), "it said nothing")


def with_remedy(said: str, otherwise: str = "") -> str:
    """Return the error's text with a remedy: how to make room if it tells of a full disk, and else `otherwise`."""
    is_full = any(os.strerror(number) in said for number in (errno.ENOSPC, errno.EDQUOT))
    return f"{said}; make room on the disk, or choose another --data-dir" if is_full else said + otherwise


def works_in(pid: int, directory: Path) -> bool:
    """Say whether the process lives and has the directory as its working directory.

    Process ids are given out again, so an id alone proves nothing. Where there is no /proc nothing is certain: False.
    """
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == directory.resolve()
    except OSError:
        return False


def _end(process: subprocess.Popen[bytes], signals: Sequence[tuple[signal.Signals, float]]) -> None:
    for with_signal, seconds in signals:
        process.send_signal(with_signal)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
            return
    process.kill()
    process.wait()
