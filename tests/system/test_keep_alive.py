"""The API closes a connection on which no request comes, after the time of KEEP_ALIVE."""

import http.client
import signal
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.system.stack import Stack

SHORT_SECONDS = 1
LONG_SECONDS = 60
# Longer than the service waits for the rest of a request.
WATCHED_SECONDS = 13


@pytest.mark.parametrize(("seconds", "closes"), [(SHORT_SECONDS, True), (LONG_SECONDS, False)])
def test_an_idle_connection_lives_as_long_as_the_setting_says(tmp_path: Path, seconds: int, closes: bool) -> None:
    with Stack(tmp_path, workers=0, environment={"KEEP_ALIVE": str(seconds)}) as stack:
        connection = http.client.HTTPConnection(urlsplit(stack.urls[0]).netloc, timeout=WATCHED_SECONDS)
        began = time.monotonic()
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b'{"status":"ok"}'
        assert connection.sock is not None
        try:
            ended = connection.sock.recv(1) == b""
        except TimeoutError:
            ended = False
        assert ended == closes
        assert time.monotonic() - began >= SHORT_SECONDS
        connection.close()


def test_a_request_that_a_busy_process_reads_late_is_answered(tmp_path: Path) -> None:
    """Closing with unread bytes resets the connection, and the client cannot know what happened to its request."""
    with Stack(tmp_path, workers=0, environment={"KEEP_ALIVE": str(SHORT_SECONDS)}) as stack:
        connection = http.client.HTTPConnection(urlsplit(stack.urls[0]).netloc, timeout=SHORT_SECONDS * 7)
        for _ in range(2):
            connection.request("GET", "/healthz")
            assert connection.getresponse().read() == b'{"status":"ok"}'
            stack.apis[0].signal(signal.SIGSTOP)
            try:
                connection.request("GET", "/healthz")
                time.sleep(SHORT_SECONDS * 1.5)
            finally:
                stack.apis[0].signal(signal.SIGCONT)
            assert connection.getresponse().read() == b'{"status":"ok"}'
        connection.close()
