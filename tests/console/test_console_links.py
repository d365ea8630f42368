"""A sign-in link signs one browser in, once, for a short time; and no log has it."""

import threading
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from service import first_key
from tests import loopback
from tests.access.keyed import guarded


@pytest.fixture(scope="module")
def url(module_database_url: str) -> Iterator[str]:
    with guarded(module_database_url, console=True) as shop:
        yield str(shop.http.base_url)


def visit(url: str, token: str, method: str = "GET") -> tuple[httpx.Response, httpx.Response]:
    """The answer to the link, and what the same browser sees of the console then."""
    with loopback.Client(base_url=url) as browser:
        return browser.request(method, "/console/sign-in", params={"token": token}), browser.get("/console/events")


def test_a_link_signs_in_once(url: str, module_database_url: str) -> None:
    token = first_key.link(module_database_url)
    answer, after = visit(url, token)
    assert (answer.status_code, answer.headers["location"], after.status_code) == (303, "/console/", 200)
    assert token not in answer.headers["set-cookie"]
    again, after = visit(url, token)
    assert (again.status_code, after.status_code) == (401, 401)
    assert "was used before, or has expired" in again.text


def test_a_link_that_has_expired_does_not_sign_in(url: str, module_database_url: str) -> None:
    token = first_key.link(module_database_url)
    with psycopg.connect(module_database_url) as connection:
        connection.execute("UPDATE access.sign_in_links SET expires_at = now() - interval '1 s'")
    assert visit(url, token)[0].status_code == 401


def test_a_look_at_the_link_alone_does_not_use_it_up(url: str, module_database_url: str) -> None:
    token = first_key.link(module_database_url)
    assert visit(url, token, "HEAD")[1].status_code == 401
    assert visit(url, token)[1].status_code == 200


def test_of_many_who_come_at_once_one_signs_in(url: str, module_database_url: str) -> None:
    token = first_key.link(module_database_url)
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(visit(url, token)[0].status_code)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [303] + [401] * 7


def test_the_database_holds_no_link(module_database_url: str) -> None:
    token = first_key.link(module_database_url)
    with psycopg.connect(module_database_url) as connection:
        rows = connection.execute("SELECT * FROM access.sign_in_links").fetchall()
    assert rows
    assert token.encode() not in str(rows).encode()


def test_the_key_of_a_link_ends_and_is_in_the_audit(url: str, module_database_url: str) -> None:
    visit(url, first_key.link(module_database_url))
    with psycopg.connect(module_database_url) as connection:
        rows = connection.execute(
            "SELECT expires_at - created_at < interval '13 hours' FROM access.api_keys WHERE created_by = %s",
            ("cli sign-in link",),
        ).fetchall()
        acts = connection.execute("SELECT count(*) FROM log.events WHERE data->>'act' = 'key.created'").fetchone()
    assert rows
    assert all(ends for (ends,) in rows)
    assert acts is not None
    assert acts[0] >= len(rows)


def test_a_link_stays_valid_when_its_key_cannot_be_made(url: str, module_database_url: str) -> None:
    token = first_key.link(module_database_url)
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE access.api_keys ADD CONSTRAINT no_room CHECK (false) NOT VALID")
        assert visit(url, token)[0].status_code == 503
        connection.execute("ALTER TABLE access.api_keys DROP CONSTRAINT no_room")
    assert visit(url, token)[1].status_code == 200


@pytest.mark.parametrize("token", ["", "x", "\x00", "'; DROP TABLE access.api_keys", "ключ", "t" * 5_000])
def test_a_hostile_token_does_not_sign_in(url: str, token: str) -> None:
    assert visit(url, token)[0].status_code == 401


def test_the_request_log_has_no_token(url: str, module_database_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    token = first_key.link(module_database_url)
    visit(url, token)
    written = capfd.readouterr()
    assert token not in written.err + written.out
