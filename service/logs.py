"""Log lines on stderr: text for people, JSON for machines."""

import json
import logging
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

# Attributes of every record; all others were given with `extra=` and belong into the line.
_OWN_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}

TEXT_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, whatever `extra=` carried, and the exception if any."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name, value in vars(record).items() if name not in _OWN_ATTRIBUTES}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextFormatter(logging.Formatter):
    """One line a message. Characters that could begin a line, or that a terminal would obey, are escaped."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        return escaped(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return "\n".join(map(escaped, super().formatException(ei).split("\n")))


def escaped(text: str) -> str:
    """The text without characters that a terminal would obey: data may stand in it."""
    return text if text.isprintable() else "".join([it if it.isprintable() else ascii(it)[1:-1] for it in text])


class OncePerMinute(logging.Filter):
    """Lets a message of a logger through once a minute: a Redis that fails does so at each poll and each commit."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._passed_at: dict[tuple[str, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is the first of its kind in a minute. Messages below WARNING always pass."""
        if record.levelno < logging.WARNING:
            return True
        key = (record.name, str(record.msg))
        now = self._now()
        if now - self._passed_at.get(key, float("-inf")) < 60:
            return False
        self._passed_at[key] = now
        return True


# These loggers repeat themselves while Redis, or the collector of traces, fails.
_OFTEN = ("dramatiq.", "projector.bell", "opentelemetry.")
_once = OncePerMinute()


# They log errors of connections with a traceback; the code that uses the connection says in its own line what failed.
_OF_CONNECTIONS = ("sqlalchemy.pool", "psycopg")


def _passes(record: logging.LogRecord) -> bool:
    """Whether to log the record. An error of a server is an operator's business: one line, without traceback."""
    if record.name.startswith(_OF_CONNECTIONS) and record.exc_info and record.exc_info[1]:
        said = str(record.exc_info[1]).partition("\n")[0]
        record.msg, record.args, record.exc_info = "%s: %s", (record.getMessage(), said), None
        return True
    if not record.name.startswith(_OFTEN):
        return True
    if record.levelno < logging.WARNING and "ConsumerThread" in record.name:
        return False  # it restarts every three seconds
    passes = _once.filter(record)
    # Dramatiq logs errors of connections in a wrapper, as the message's argument. Those of a cluster have a text there.
    arguments = record.args if isinstance(record.args, tuple) else ()
    wrapper = record.exc_info[1] if record.exc_info else next(iter(arguments), None)
    message = getattr(wrapper, "message", None)
    error = message if isinstance(message, Exception) else wrapper
    # By its module, because to import redis takes time that most commands do not need.
    if isinstance(error, Exception) and type(error).__module__.startswith("redis."):
        from projector.redis_faults import fault_of

        said = str(record.msg).removesuffix(": %s").rstrip(".")
        record.msg, record.args, record.exc_info = "%s: %s", (said, fault_of(error)), None
    return passes


def configure(log_format: Literal["text", "json"] = "text", log_level: str = "info") -> None:
    """Send all loggers of the process, the libraries' too, to stderr in one format. May be called again."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter(TEXT_FORMAT))
    logging.basicConfig(level=log_level.upper(), handlers=[handler], force=True)
    # Alembic says at INFO what `migrate` says better.
    logging.getLogger("alembic.runtime.migration").setLevel(logging.WARNING)
    handler.addFilter(_passes)
