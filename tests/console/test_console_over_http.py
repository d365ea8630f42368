"""The console without a browser: what every page answers, what it escapes, and what it refuses."""

import os
import re
from collections.abc import Iterator
from importlib import metadata

import psycopg
import pytest
from starlette.routing import compile_path

from console import words
from console.app import PAGES
from database.sessions import SERVER_VERSION_MIN
from service.settings import Settings
from tests.console.shop import HOSTILE, Made, hostile_shop, paths
from tests.served import NO_REDIS, served_with


@pytest.fixture(scope="module")
def made(module_database_url: str) -> Iterator[Made]:
    with hostile_shop(module_database_url) as made:
        yield made


def test_every_page_is_among_those_that_the_tests_open(made: Made) -> None:
    opened = [it.partition("?")[0] for it in paths(made)]
    for page in PAGES:
        pattern, *_ = compile_path(page)
        assert any(pattern.fullmatch(it) for it in opened), page
    assert {"orders", "products", "users"} <= {it.split("/")[1] for it in opened}


def test_every_page_answers_without_javascript(made: Made) -> None:
    for path in paths(made):
        answer = made.shop.get(f"/console{path}")
        assert answer.status_code in {200, 400, 404}, path
        assert "<h1" in answer.text, path
        policy = answer.headers["content-security-policy"]
        assert "unsafe" not in policy
        assert "require-trusted-types-for 'script'" in policy
        assert answer.headers["cache-control"] == "no-store"


def test_no_text_of_the_shop_becomes_markup(made: Made) -> None:
    for path in paths(made):
        text = made.shop.get(f"/console{path}").text
        assert "<img src=x" not in text, path
        assert "<script>" not in text, path
        assert '<b hx-get="/pwn"' not in text, path
        assert " style=" not in text, path
        assert not set(text) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"), path


def test_a_path_without_a_page_says_so_and_leads_to_the_overview(made: Made) -> None:
    answer = made.shop.get("/console/nowhere")
    assert answer.status_code == 404
    assert "There is no such page." in answer.text
    assert "Try again" not in answer.text


def test_the_page_of_an_event_describes_it_and_names_its_actor(made: Made) -> None:
    user = made.shop.user(name="Grace")
    last = made.shop.head()
    page = made.shop.get(f"/console/events/{last}").text
    assert f"Registered: Grace, {user['email']}" in page
    assert "anyone anyone" in page
    assert "Registered: Grace" in made.shop.get("/console/events").text


def test_an_order_is_shown_as_it_was_and_its_row_equals_the_log(made: Made) -> None:
    now = made.shop.get(f"/console/orders/{made.order}").text
    assert "row equals log at version 2" in now
    assert "partially_cancelled" in now
    then = made.shop.get(f"/console/orders/{made.order}?version=1").text
    assert "Version 1 of 2" in then
    assert re.search(r"placed.*<ins><bdi>partially_cancelled", then, re.DOTALL)


def test_a_row_that_differs_from_the_log_is_named(made: Made, module_database_url: str) -> None:
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        stock = "UPDATE shop.products SET stock = stock + 1 WHERE id = %s"
        connection.execute(stock, [made.product])
        text = made.shop.get(f"/console/products/{made.product}").text
        connection.execute(stock.replace("+ 1", "- 1"), [made.product])
    assert "the row differs from the log" in text
    assert "orders replay shop" in text


def test_a_row_that_lacks_is_called_missing(made: Made, module_database_url: str) -> None:
    with psycopg.connect(module_database_url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("CREATE TABLE public.kept AS SELECT * FROM shop.products WHERE id = %s", [made.product])
        connection.execute("DELETE FROM shop.products WHERE id = %s", [made.product])
        text = made.shop.get(f"/console/products/{made.product}").text
        connection.execute("INSERT INTO shop.products SELECT * FROM public.kept")
        connection.execute("DROP TABLE public.kept")
    assert '<del>missing</del></td><td class="value"><ins>a row</ins>' in text
    assert '<th scope="col">Is now</th>' in text


def test_the_overview_counts_the_orders_of_the_minute_that_is_not_over(made: Made) -> None:
    assert "No order was placed in this time" not in made.shop.get("/console/").text


def test_a_search_leads_to_the_page_of_the_resource(made: Made) -> None:
    for typed, to in (
        ("3", "/console/events/3"),
        (made.order, f"/console/orders/{made.order}"),
        (HOSTILE[:100], ""),
        ("other@example.org", f"/console/users/{made.user}"),
    ):
        answer = made.shop.get("/console/find", params={"q": typed})
        if to:
            assert (answer.status_code, answer.headers["location"]) == (303, to)
        else:
            assert answer.status_code == 200  # the SKU and the user's external_id are the same text


def test_the_configuration_describes_each_setting_and_the_running_servers(made: Made) -> None:
    text = made.shop.get("/console/configuration").text
    for name in Settings.model_fields:
        assert f">{name.upper()}<" in text
        assert str(words.code(Settings.meaning(name))) in text
    versions = dict(re.findall(r"<dt>([\w ]+)</dt><dd>([\w. ]+)", text))
    ((postgresql,),) = made.shop.rows("SHOW server_version")
    assert versions["PostgreSQL"].strip() == postgresql
    assert versions["Redis or Valkey"] == "does not answer"
    assert versions["SQLAlchemy"].strip() == metadata.version("sqlalchemy")
    assert f"{SERVER_VERSION_MIN} or newer" in text


def test_the_configuration_is_shown_while_postgresql_is_away_and_without_passwords() -> None:
    away = "postgresql://orders:hunter2@127.0.0.1:1/orders"
    settings = Settings(database_url=away, redis_url=NO_REDIS, allow_unsafe_database=True, console=True, no_auth=True)
    with served_with(settings) as shop:
        text = shop.get("/console/configuration").text
    assert re.search(r"<dt>PostgreSQL</dt><dd>does not answer", text)
    assert "postgresql://orders:***@127.0.0.1:1/orders" in text
    assert "hunter2" not in text


def test_a_form_leads_back_to_no_other_site(made: Made) -> None:
    for back in (
        "https://example.org/console/",
        "//example.org/console/",
        "/\\example.org",
        "javascript:1",
        "http://[",
    ):
        answer = made.shop.post("/console/theme", data={"theme": "dark", "back": back})
        assert (answer.status_code, answer.headers["location"]) == (303, "/console/")
        assert "orders_theme=dark" in answer.headers["set-cookie"]


@pytest.mark.parametrize("type_name", ["", "OrderPlaced", "StockAdjusted", "UserDeleted", "NoSuchType"])
@pytest.mark.parametrize("since", ["", "2001-01-01"])
def test_the_pages_of_events_together_have_each_wanted_event_once(made: Made, type_name: str, since: str) -> None:
    rows = made.shop.rows("SELECT position, type FROM log.events ORDER BY position DESC")
    wanted = [position for position, kind in rows if type_name in {"", kind}]
    found: list[int] = []
    path = f"/console/events?type={type_name}&from={since}"
    while path:
        text = made.shop.get(path).text
        found += [int(it) for it in re.findall(r'<tr id="e(\d+)"', text)]
        older = re.search(r'rel="next" href="([^"]+)"', text)
        newer = re.search(r'rel="prev" href="([^"]+)"', text)
        path = older.group(1).replace("&amp;", "&") if older else ""
        assert len(found) <= len(wanted)
        if newer and not older and len(wanted) > 50:
            back = made.shop.get(newer.group(1).replace("&amp;", "&")).text
            before = [int(it) for it in re.findall(r'<tr id="e(\d+)"', back)]
            last_page = (len(wanted) - 1) // 50 * 50
            assert before == wanted[last_page - 50 : last_page]
    assert found == wanted


def test_the_doctor_of_the_console_looks_at_indexes_too(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE INDEX broken ON shop.users (name)")
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'shop.broken'::regclass")
    settings = Settings(
        database_url=database_url, redis_url=NO_REDIS, allow_unsafe_database=True, console=True, no_auth=True
    )
    with served_with(settings) as shop:
        assert "The index shop.broken is invalid" in shop.get("/console/doctor").text


def with_console(url: str) -> Settings:
    return Settings(database_url=url, redis_url=NO_REDIS, allow_unsafe_database=True, console=True, no_auth=True)


def test_a_fault_is_a_page_with_the_request_id_and_the_connection_goes_on(database_url: str) -> None:
    with served_with(with_console(database_url)) as shop:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("ALTER TABLE shop.checkpoint ALTER COLUMN seen_at TYPE text")
        answer = shop.get("/console/", headers={"X-Request-Id": "a-fault"})
        assert answer.status_code == 500
        assert "<h1>A fault</h1>" in answer.text
        assert "look for a-fault." in answer.text
        assert answer.headers.get("connection") != "close"
        assert answer.headers["x-request-id"] == "a-fault"


def test_a_page_says_that_a_column_has_another_name(database_url: str) -> None:
    with served_with(with_console(database_url)) as shop:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("ALTER TABLE shop.parked RENAME COLUMN stream TO looked_at")
        answer = shop.get("/console/parked")
        assert answer.status_code == 503
        assert "The database lacks columns of this release" in answer.text


def test_pages_name_the_grant_that_the_services_role_lacks(database_url: str) -> None:
    role = f"blind_{os.getpid()}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN".encode())
        try:
            with served_with(with_console(database_url.replace("orders@", f"{role}@"))) as shop:
                for page in ("/console/replay?projection=shop", "/console/projections"):
                    text = shop.get(page).text
                    assert "role lacks a grant: permission denied for" in text, page
                    assert "The database does not answer" not in text, page
        finally:
            connection.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "no worker has looked at the log for 20 s; the last was vm:1",
            "no worker has looked at the log for 20 s; the last was vm:1",
        ),
        (
            "Redis rejects commands (MISCONF Errors (AOF): no space), so workers look",
            "Redis rejects commands, so workers look",
        ),
        (
            f"the mirror of shop in postgresql://reports@bi/shop has stopped: {'no mirror ' * 9}",
            "the mirror of shop in postgresql://reports@bi/shop has stopped",
        ),
        (f"database: {'it does not answer ' * 9}", f"database: {'it does not answer ' * 9}"),
    ],
)
def test_a_headline_leaves_asides_out_and_long_explanations(text: str, shown: str) -> None:
    assert words.headline(text) == shown
