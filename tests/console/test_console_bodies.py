"""The console reads a whole body before it does anything, and one that breaks off is no fault of the service."""

import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from service import first_key
from tests import loopback
from tests.access.keyed import guarded
from tests.builders import wait_until
from tests.served import Shop
from tests.system.slow import SlowClient


@pytest.fixture(scope="module")
def shop(module_database_url: str) -> Iterator[Shop]:
    with guarded(module_database_url, console=True) as shop:
        yield shop


def half_sent(shop: Shop, request: str) -> bytes:
    """The answer to a request whose client sends half of its body and then hangs up."""
    form = "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 8"
    with closing(SlowClient(str(shop.http.base_url))) as client:
        client.send(f"{request} HTTP/1.1\r\nHost: 127.0.0.1\r\n{form}\r\n\r\nkey=".encode())
        time.sleep(0.3)  # until the console would have answered
        client.look()
        return client.received


@pytest.mark.parametrize("page", ["sign-in", "sign-out"])
def test_a_form_that_its_client_breaks_off_is_no_fault_of_the_service(
    shop: Shop, caplog: pytest.LogCaptureFixture, page: str
) -> None:
    def told(status: int) -> bool:
        counted = f'orders_http_requests_total{{method="POST",route="/{page}",status="{status}"}}'
        return counted in shop.get("/metrics").text

    assert half_sent(shop, f"POST /console/{page}") == b""
    wait_until(lambda: told(408) or told(500), 5, "the console has seen that the client is gone")
    assert not told(500)
    assert "Traceback" not in caplog.text


def test_a_link_is_not_used_up_before_the_announced_body_is_there(shop: Shop) -> None:
    token = first_key.link(shop.database_url)
    assert half_sent(shop, f"GET /console/sign-in?token={token}") == b""
    with loopback.Client(base_url=shop.http.base_url) as browser:
        assert browser.get("/console/sign-in", params={"token": token}).status_code == 303


def test_a_filter_in_the_body_of_a_page_is_not_ignored(shop: Shop) -> None:
    for path in ("/console/events", "/console/jobs", "/console/sign-in"):
        told = shop.http.request("GET", path, content=b"type=OrderPlaced")
        assert told.status_code == 400
        assert "GET takes no body: send filters in the query." in told.text
        assert shop.http.request("GET", path, content=b"{}").status_code in {200, 303}
