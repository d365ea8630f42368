"""Acts of operators in the console, over plain HTTP: as a browser without JavaScript sends them."""

import re
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from eventlog.events import UserChanged, UserRegistered
from eventlog.ids import new_id
from projector.jobs.runner import Runner
from service.projections import PROJECTIONS
from tests.access.keyed import bearing, guarded, new_key
from tests.builders import append_events, new_event, wait_until
from tests.projecting import sweep

JOB_SECONDS_MAX = 30


@pytest.fixture
def shop(database_url: str) -> Iterator[httpx.Client]:
    """The console with an operator's key, on a shop with two streams that are parked."""
    for at in range(2):
        name, mail = f"user-{new_id()}", f"{at}@example.org"
        events = [new_event(name, 1, UserRegistered("Ada", mail, mail, None))]
        events += [new_event(name, version, UserChanged(f"Ada {version}", None)) for version in (2, 3)]
        events[1] = events[1]._replace(type="UserTeleported")
        append_events(database_url, events)
    sweep(database_url)
    with guarded(database_url, console=True) as served:
        served.http.headers.update(bearing(new_key(database_url, "operator")))
        yield served.http


@pytest.fixture
def runner(database_url: str) -> Iterator[None]:
    running = Runner(database_url, PROJECTIONS)
    running.start()
    yield
    running.stop()
    running.close()


def forms(page: str) -> list[dict[str, str]]:
    """The forms of a page that ask for a job, as their hidden fields and the text of the button."""
    found = []
    for form in re.findall(r'<form[^>]*action="/console/jobs">(.*?)</form>', page, re.DOTALL):
        fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))
        (fields["button"],) = re.findall(r"<button[^>]*>(.*?)</button>", form)
        found.append(fields)
    return found


def send(shop: httpx.Client, form: dict[str, str], **more: str) -> httpx.Response:
    return shop.post("/console/jobs", data={**form, **more})


def end(shop: httpx.Client, answer: httpx.Response) -> str:
    """The page of the job at its end."""
    assert answer.status_code == 303, answer.text
    page = ""

    def is_over() -> bool:
        nonlocal page
        page = shop.get(answer.headers["location"]).text
        return not re.search('class="hero open"', page)

    wait_until(is_over, JOB_SECONDS_MAX, "the end of the job")
    return page


def count(database_url: str, table: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def test_a_group_is_retried_and_the_button_names_the_number(shop: httpx.Client, runner: None) -> None:
    form = next(it for it in forms(shop.get("/console/parked").text) if "group" in it)
    assert form["button"] == "Retry 2 streams"
    page = end(shop, send(shop, form))
    assert "0 of 2 streams are projected again" in page
    assert "2 are parked still" in page


def test_a_stream_is_skipped_with_a_reason_and_its_name_typed(
    shop: httpx.Client, runner: None, database_url: str
) -> None:
    link = next(
        it for it in re.findall(r'href="(/console/skip[^"]*)"', shop.get("/console/parked").text) if "stream=" in it
    )
    (form,) = forms(shop.get(link.replace("&amp;", "&")).text)
    refused = send(shop, form, reason=" ", name="user")
    assert refused.status_code == 400
    assert "Say why the read tables" in refused.text
    assert f"Type {form['stream']} to skip it" in refused.text
    assert count(database_url, "operations.jobs") == 0
    page = end(shop, send(shop, form, reason="a test made it", name=form["stream"]))
    assert "1 of 1 streams are projected again" in page
    assert count(database_url, "log.skips") == 1
    assert "a test made it" in shop.get("/console/audit").text


def test_a_refused_form_keeps_its_input(shop: httpx.Client) -> None:
    link = re.findall(r'href="(/console/skip[^"]*group=[^"]*)"', shop.get("/console/parked").text)[0]
    (form,) = forms(shop.get(link.replace("&amp;", "&")).text)
    assert form["button"] == "Skip 2 events"
    text = send(shop, form, reason="because <b>it</b>", name="no").text
    assert 'value="because &lt;b&gt;it&lt;/b&gt;"' in text
    assert 'value="no"' in text


def test_a_group_that_has_grown_since_the_page_was_shown_is_not_touched(shop: httpx.Client, database_url: str) -> None:
    form = next(it for it in forms(shop.get("/console/parked").text) if "group" in it)
    answer = send(shop, {**form, "streams": "1"})
    assert answer.status_code == 409
    assert "The group has 2 streams now, not 1." in answer.text
    assert count(database_url, "operations.jobs") == 0


def test_a_rebuild_asks_back_first_and_then_runs(shop: httpx.Client, runner: None) -> None:
    page = shop.get("/console/replay?projection=shop").text
    assert "Nothing has begun" in page
    assert "not known" in page
    (form,) = forms(page)
    assert form["button"].startswith("Rebuild shop from ")
    assert "shop was rebuilt from" in end(shop, send(shop, form, reason="to see"))
    # So few events say nothing about how long a rebuild takes.
    assert "not known" in shop.get("/console/replay?projection=shop").text


def test_a_verify_names_each_difference_and_offers_a_rebuild(
    shop: httpx.Client, runner: None, database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE shop.users SET name = 'Mallory' WHERE email = '0@example.org'")
    form = next(it for it in forms(shop.get("/console/projections").text) if it["button"] == "Verify shop")
    page = end(shop, send(shop, form))
    assert "Mallory" in page
    assert 'href="/console/replay?projection=shop"' in page
    # The overview runs its checks every ten seconds.
    found = "The last verify of shop found 1 difference between"
    wait_until(lambda: found in shop.get("/console/").text, JOB_SECONDS_MAX, "the finding on the overview")


def test_the_same_job_is_not_asked_for_twice(shop: httpx.Client, database_url: str) -> None:
    form = {"kind": "verify", "projection": "shop"}
    first, second = send(shop, form), send(shop, form)
    assert first.headers["location"] == second.headers["location"]
    assert count(database_url, "operations.jobs") == 1


def test_without_a_worker_the_page_of_a_job_says_so_at_once(shop: httpx.Client, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        for projection in PROJECTIONS:
            connection.execute(f"UPDATE {projection.name}.checkpoint SET seen_at = now() - interval '1 min'".encode())
    answer = send(shop, {"kind": "verify", "projection": "shop"})
    page = shop.get(answer.headers["location"]).text
    assert "No worker runs" in page
    assert "orders work" in page


def test_a_key_that_may_only_look_sees_no_button_and_is_refused(shop: httpx.Client, database_url: str) -> None:
    shop.headers.update(bearing(new_key(database_url, "integration", ["ops:read"])))
    for path in ("/parked", "/projections"):
        page = shop.get(f"/console{path}").text
        assert forms(page) == []
        assert "/console/skip" not in page
        assert "/console/replay" not in page
    for path in ("/replay?projection=shop", "/skip?projection=shop&stream=x"):
        assert shop.get(f"/console{path}").status_code == 403
    answer = send(shop, {"kind": "replay", "projection": "shop"})
    assert answer.status_code == 403
    assert "ops:write" in answer.text
    assert count(database_url, "operations.jobs") == 0


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "same-site"}])
def test_a_form_of_another_site_starts_no_job(shop: httpx.Client, database_url: str, headers: dict[str, str]) -> None:
    answer = shop.post("/console/jobs", data={"kind": "replay", "projection": "shop"}, headers=headers)
    assert answer.status_code == 403
    assert count(database_url, "operations.jobs") == 0


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({}, 400),
        ({"kind": "drop", "projection": "shop"}, 400),
        ({"kind": "replay"}, 404),
        ({"kind": "replay", "projection": "nothing"}, 404),
        ({"kind": "retry", "projection": "shop"}, 400),
        ({"kind": "retry", "projection": "shop", "group": "0" * 16}, 409),
        ({"kind": "retry", "projection": "shop", "stream": "user-\x00"}, 400),
        ({"kind": "skip", "projection": "shop", "reason": "x", "name": "shop"}, 400),
        ({"kind": "replay", "projection": "shop", "reason": "a\x00b"}, 400),
        ({"kind": "replay", "projection": "shop", "reason": "a" * 1_001}, 400),
    ],
)
def test_a_form_that_makes_no_sense_is_refused_with_a_page(
    shop: httpx.Client, database_url: str, form: dict[str, str], status: int
) -> None:
    answer = send(shop, form)
    assert answer.status_code == status, answer.text
    assert "<h1" in answer.text
    assert count(database_url, "operations.jobs") == 0
