"""The log line of each request, made cheap: at full load there are thousands a second.

A line does not pass through a LogRecord, which costs as much as a tenth of a request. Lines are made and written many
at a time: a request only notes what its line needs (`python -m bench.observe` shows what a request costs in all).
"""

import asyncio
import contextlib
import logging
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from select import PIPE_BUF
from typing import Literal

import msgspec
from starlette.types import Scope

from contract.observation import Observation, path_shown

LOGGER = "request"
# Load balancers and Prometheus request these every few seconds.
_UNLOGGED = frozenset({"/healthz", "/readyz", "/metrics"})
# A process that is killed with SIGKILL loses the lines that it holds back: those of so many seconds at most.
HELD_SECONDS_MAX = 0.1
HELD_LINES_MAX = 500

_LEVELS = {logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}

log = logging.getLogger(LOGGER)


class _Line(msgspec.Struct, omit_defaults=True):
    """The members of a JSON line, in this order; a member without a value is left out."""

    time: str
    level: str
    logger: str
    request_id: str
    method: str
    route: str
    status: int
    ms: float
    path: str | None = None
    key_id: str | None = None
    command: str | None = None
    outcome: str | None = None
    code: str | None = None
    stream: str | None = None
    version: int | None = None
    position: int | None = None
    trace_id: str | None = None
    span_id: str | None = None


# When a request ended (Unix time), the level of its line, its method, raw path and route, its seconds, its other facts.
_Seen = tuple[float, int, str, bytes, str | None, float, Observation]


class RequestLog(logging.Handler):
    """Writes a line for each request, but for health checks and scrapes.

    A 500 is logged as an error, another status above it as a warning, all else as info. Lines of level info are held
    back for a moment. A warning, an error and, while `running`, a line of any other logger write them first, so that
    lines stand in order. At the end of the process `logging` writes them: it calls `flush` of each handler.
    """

    def __init__(self, log_format: Literal["text", "json"]) -> None:
        super().__init__()
        self._is_json = log_format == "json"
        self._held: deque[_Seen] = deque()
        self._flush_is_due = False
        self._milliseconds, self._time_text = 0, ""

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Write the held lines before those of other loggers, and at the end."""
        root = logging.getLogger()
        for handler in (self, *root.handlers):  # so that this one is the first
            root.removeHandler(handler)
            root.addHandler(handler)
        try:
            yield
        finally:
            root.removeHandler(self)
            self.flush()

    def write(self, scope: Scope, route: str | None, seconds: float, seen: Observation) -> None:
        """Log one request, if the level of the logger `request` allows it. Call it in the event loop."""
        level = logging.INFO if seen.status < 500 else logging.ERROR if seen.status == 500 else logging.WARNING
        if not log.isEnabledFor(level) or route in _UNLOGGED:
            return
        self._held.append((time.time(), level, scope["method"], scope["raw_path"], route, seconds, seen))
        if level > logging.INFO or len(self._held) >= HELD_LINES_MAX:
            self.flush()
        elif not self._flush_is_due:
            self._flush_is_due = True
            asyncio.get_running_loop().call_later(HELD_SECONDS_MAX, self._flush_due)

    def emit(self, record: logging.LogRecord) -> None:
        """Write the held lines: another handler writes the record afterwards."""
        self.flush()

    def flush(self) -> None:
        """Write the held lines. Any thread may call it."""
        self.acquire()
        try:
            # The event loop may add lines meanwhile.
            lines = [self._line(*self._held.popleft()) for _ in range(len(self._held))]
            # A full disk must not fail requests.
            with contextlib.suppress(OSError):
                for piece in _pieces(map(_json if self._is_json else _text, lines)):
                    # Not remembered from the start: a test, or a program around this one, may replace it.
                    sys.stderr.write(piece)
                    sys.stderr.flush()
        finally:
            self.release()

    def _flush_due(self) -> None:
        self._flush_is_due = False
        self.flush()

    def _line(
        self, at: float, level: int, method: str, raw_path: bytes, route: str | None, seconds: float, seen: Observation
    ) -> _Line:
        return _Line(
            self._time(at),
            _LEVELS[level],
            LOGGER,
            seen.request_id.decode(),
            method,
            route or "unmatched",
            seen.status,
            int(seconds * 100_000) / 100,
            path_shown(raw_path),
            seen.key_id,
            seen.command,
            seen.outcome,
            seen.code,
            seen.stream,
            seen.version,
            seen.position,
            f"{seen.trace[0]:032x}" if seen.trace else None,
            f"{seen.trace[1]:016x}" if seen.trace else None,
        )

    def _time(self, at: float) -> str:
        """The text of a Unix time. At full load the lines of one millisecond share it."""
        milliseconds = int(at * 1_000)
        if milliseconds != self._milliseconds:
            self._milliseconds = milliseconds
            # The text format has the local time, as the lines of all other loggers.
            self._time_text = (
                time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(at)) + f"{milliseconds % 1_000:03}Z"
                if self._is_json
                else time.strftime("%Y-%m-%d %H:%M:%S,", time.localtime(at)) + f"{milliseconds % 1_000:03}"
            )
        return self._time_text


def _pieces(lines: Iterable[str]) -> Iterator[str]:
    """The lines in texts that a pipe takes whole: so those of several processes do not mix."""
    piece = ""
    for line in lines:
        if piece and len(piece) + len(line) > PIPE_BUF:
            yield piece
            piece = ""
        piece += line
    yield piece


_encoder = msgspec.json.Encoder()


def _json(line: _Line) -> str:
    return _encoder.encode(line).decode() + "\n"


def _text(line: _Line) -> str:
    told = "".join(f" {it}" for it in (line.command, line.outcome, line.code, line.stream) if it)
    at = f" at {line.position}" if line.position is not None else ""
    by = f" by {line.key_id}" if line.key_id else ""
    return (
        f"{line.time} {line.level.upper():<7} {line.logger}: {line.method} {line.path} {line.status} {line.ms:.1f} ms"
        f"{told}{at}{by} [{line.request_id}]\n"
    )
