import logging
import subprocess
import sys

import pytest

from service.logs import OncePerMinute, configure


def record(message: str, level: int = logging.ERROR, *args: object) -> logging.LogRecord:
    return logging.LogRecord("dramatiq.worker", level, "worker.py", 1, message, args, None)


def test_the_same_message_passes_once_a_minute() -> None:
    now = 0.0
    once = OncePerMinute(now=lambda: now)
    assert once.filter(record("Consumer of %r failed", logging.ERROR, "a"))
    now = 59.0
    assert not once.filter(record("Consumer of %r failed", logging.ERROR, "b"))
    assert once.filter(record("another"))
    now = 60.0
    assert once.filter(record("Consumer of %r failed", logging.ERROR, "a"))


def test_lines_below_warning_always_pass() -> None:
    once = OncePerMinute(now=lambda: 0.0)
    assert [once.filter(record("ready", logging.INFO)) for _ in range(3)] == [True] * 3


@pytest.mark.parametrize(
    "error", ["ClusterDownError('CLUSTERDOWN')", "MasterDownError('MASTERDOWN')", "MovedError('1 a:7')"]
)
def test_an_error_of_a_cluster_or_a_replica_is_one_line(error: str) -> None:
    code = (
        "import logging; from redis.exceptions import *; from service.logs import configure; configure()\n"
        f"try: raise {error}\n"
        "except RedisError: logging.getLogger('dramatiq.worker').critical('Consumer failed.', exc_info=True)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(ended.stderr.splitlines()) == 1
    assert "lead REDIS_URL to" in ended.stderr


@pytest.mark.parametrize("name", ["sqlalchemy.pool.impl.QueuePool", "psycopg.pool"])
def test_a_connection_that_was_lost_is_one_line(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    try:
        raise ConnectionResetError("gone\nwith details")
    except ConnectionResetError:
        logging.getLogger(name).exception("Exception during reset")
    said = capsys.readouterr().err
    assert said.endswith(f" ERROR   {name}: Exception during reset: gone\n")
    assert said.count("\n") == 1


def test_a_collector_that_is_away_is_logged_once_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    for code in (500, 502, 503):
        logging.getLogger("opentelemetry.exporter.test").error("Failed to export spans batch code: %s", code)
    assert capsys.readouterr().err.count("\n") == 1
