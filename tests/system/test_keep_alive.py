"""The API closes a connection on which no request comes, after the time of KEEP_ALIVE."""

import http.client
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.system.stack import Stack

SHORT_SECONDS = 1
LONG_SECONDS = 60


@pytest.mark.parametrize(("seconds", "closes"), [(SHORT_SECONDS, True), (LONG_SECONDS, False)])
def test_an_idle_connection_lives_as_long_as_the_setting_says(tmp_path: Path, seconds: int, closes: bool) -> None:
    with Stack(tmp_path, workers=0, environment={"KEEP_ALIVE": str(seconds)}) as stack:
        connection = http.client.HTTPConnection(urlsplit(stack.urls[0]).netloc, timeout=SHORT_SECONDS * 7)
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b'{"status":"ok"}'
        began = time.monotonic()
        assert connection.sock is not None
        try:
            ended = connection.sock.recv(1) == b""
        except TimeoutError:
            ended = False
        assert ended == closes
        assert time.monotonic() - began >= SHORT_SECONDS
        connection.close()
