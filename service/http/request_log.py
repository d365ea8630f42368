"""The log line of each request, made cheap: at full load there are thousands a second.

A line does not pass through a LogRecord, which costs as much as a tenth of a request. The lines of one turn of the
event loop are written together.
"""

import asyncio
import logging
import sys
import time
from typing import Literal

import msgspec
from starlette.types import Scope

from contract.observation import Observation, path_shown

LOGGER = "request"
# Load balancers and Prometheus request these every few seconds.
_UNLOGGED = frozenset({"/healthz", "/readyz", "/metrics"})

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
    command: str | None = None
    outcome: str | None = None
    code: str | None = None
    stream: str | None = None
    version: int | None = None
    position: int | None = None
    trace_id: str | None = None
    span_id: str | None = None


class RequestLog:
    """Writes a line for each request, but for health checks and scrapes.

    A 500 is logged as an error, another status above it as a warning, all else as info.
    """

    def __init__(self, log_format: Literal["text", "json"]) -> None:
        self._is_json = log_format == "json"
        self._lines: list[_Line] = []
        self._time = ""

    def write(self, scope: Scope, route: str | None, seconds: float, seen: Observation) -> None:
        """Log one request, if the level of the logger `request` allows it."""
        status = seen.status
        level = logging.INFO if status < 500 else logging.ERROR if status == 500 else logging.WARNING
        if not log.isEnabledFor(level) or route in _UNLOGGED:
            return
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
            self._time = self._now()
        self._lines.append(
            _Line(
                self._time,
                _LEVELS[level],
                LOGGER,
                seen.request_id.decode(),
                scope["method"],
                route or "unmatched",
                status,
                int(seconds * 100_000) / 100,
                path_shown(scope),
                seen.command,
                seen.outcome,
                seen.code,
                seen.stream,
                seen.version,
                seen.position,
                f"{seen.trace[0]:032x}" if seen.trace else None,
                f"{seen.trace[1]:016x}" if seen.trace else None,
            )
        )

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        text = _encoder.encode_lines(lines).decode() if self._is_json else "".join(map(_text, lines))
        # Not remembered from the start: a test, or a program around this one, may replace it.
        sys.stderr.write(text)
        sys.stderr.flush()

    def _now(self) -> str:
        now = time.time()
        # The text format has the local time, as the lines of all other loggers.
        if self._is_json:
            return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(now))}.{int(now % 1 * 1_000):03}Z"
        return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now))},{int(now % 1 * 1_000):03}"


_encoder = msgspec.json.Encoder()


def _text(line: _Line) -> str:
    told = "".join(f" {it}" for it in (line.command, line.outcome, line.code, line.stream) if it)
    at = f" at {line.position}" if line.position is not None else ""
    return (
        f"{line.time} {line.level.upper():<7} {line.logger}: {line.method} {line.path} {line.status} {line.ms:.1f} ms"
        f"{told}{at} [{line.request_id}]\n"
    )
