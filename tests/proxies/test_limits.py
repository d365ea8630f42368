"""Times and sizes in the proxies' files fit those of the API."""

import re
from pathlib import Path

import pytest

from contract.requests import BODY_BYTES_MAX
from query.sync import WAIT_SECONDS_MAX
from service.http.connections import REQUEST_SECONDS_MAX
from service.settings import Settings
from tests.proxies.running import DEPLOY, PAGE, PROXIES

# By file: where each says how long it waits for an answer, how long an idle connection to the API may live, and how
# large a body it takes.
ANSWER_SECONDS = {
    "nginx.conf": r"proxy_read_timeout (\d+)s",
    "haproxy.cfg": r"timeout server (\d+)s",
    "Caddyfile": r"response_header_timeout (\d+)s",
    "varnish.vcl": r"first_byte_timeout = (\d+)s",
}
IDLE_SECONDS = {
    "nginx.conf": r"keepalive_timeout (\d+)s",
    "haproxy.cfg": r"pool-purge-delay (\d+)s",
    "Caddyfile": r"keepalive (\d+)s",
    "varnish.vcl": r"backend_idle_timeout=(\d+)",
}
BODY_MEBIBYTES = {"nginx.conf": r"client_max_body_size (\d+)m", "Caddyfile": r"max_size (\d+)MiB"}


def number(file: str, pattern: str) -> int:
    (found,) = re.findall(pattern, (DEPLOY / file).read_text())
    return int(found)


def test_every_file_is_explained() -> None:
    for file in filter(Path.is_file, DEPLOY.iterdir()):
        assert f"deploy/{file.name}" in PAGE.read_text(), file.name
        assert "docs/behind-a-proxy.md" in file.read_text(), file.name
    assert {proxy.file for proxy in PROXIES.values()} == set(ANSWER_SECONDS)


@pytest.mark.parametrize("file", ANSWER_SECONDS)
def test_a_proxy_waits_longer_than_the_api_and_reuses_no_connection_that_the_api_closes(file: str) -> None:
    assert number(file, ANSWER_SECONDS[file]) > WAIT_SECONDS_MAX
    assert number(file, IDLE_SECONDS[file]) < Settings.model_fields["keep_alive"].default


@pytest.mark.parametrize("file", IDLE_SECONDS)
def test_a_file_says_when_the_api_closes_an_idle_connection(file: str) -> None:
    assert number(file, r"after (\d+) idle seconds") == Settings.model_fields["keep_alive"].default


@pytest.mark.parametrize("file", BODY_MEBIBYTES)
def test_the_api_refuses_a_large_body_before_the_proxy_does(file: str) -> None:
    assert number(file, BODY_MEBIBYTES[file]) * 1024 * 1024 > BODY_BYTES_MAX


def test_caddy_lets_the_api_end_a_slow_body() -> None:
    head = number("Caddyfile", r"read_header (\d+)s")
    assert number("Caddyfile", r"read_body (\d+)s") > head + REQUEST_SECONDS_MAX
