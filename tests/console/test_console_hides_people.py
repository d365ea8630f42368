"""Texts that may quote names and e-mail addresses are shown to keys with the scope users:read alone."""

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

import psycopg
import pytest
from psycopg.types.json import Json

from eventlog.events import UserRegistered
from eventlog.ids import new_id
from projector.jobs import table
from projector.jobs.table import Wanted
from service import jobs
from tests import loopback
from tests.access.keyed import bearing, guarded, new_key
from tests.builders import append_events, new_event
from tests.projecting import sweep
from tests.served import Shop

CANARY = "ada.secret@example.org"
SCOPES = ["ops:read", "ops:write"]


class Told(NamedTuple):
    """The served console, and the pages that quote a person."""

    shop: Shop
    paths: list[str]


@pytest.fixture(scope="module")
def told(module_database_url: str) -> Iterator[Told]:
    stream = f"user-{new_id()}"
    registered = new_event(stream, 1, UserRegistered("Ada", "ada@example.org", "ada@example.org", None))
    append_events(module_database_url, [registered._replace(type="UserTeleported")])
    sweep(module_database_url)
    wanted = Wanted("skip", "shop", type="OrderPlaced", error=CANARY, streams=1)
    job = asyncio.run(jobs.ask(module_database_url, {"kind": "cli", "id": "0"}, wanted))
    difference = {"table": "users", "key": {"id": "7"}, "column": "email", "stands": CANARY, "should_be": None}
    reject = {"file": "users.jsonl", "line": 7, "code": "email-taken", "detail": CANARY}
    with psycopg.connect(module_database_url) as connection:
        table.finish(connection, job, {"said": CANARY, "is_well": False, "differences": [difference]})
        connection.execute(
            "INSERT INTO operations.imports (id, path, finished_at, bytes_total, refused, first_rejects, error) "
            "VALUES (%s, 'shop', now(), 9, %s, %s, %s)",
            (new_id(), Json({"email-taken": 1}), Json([reject]), CANARY),
        )
        connection.execute("UPDATE shop.parked SET error = %s", (CANARY,))
        connection.execute("UPDATE sales.checkpoint SET error = %s", (f"UniqueViolation: {CANARY}",))
        connection.execute(
            "INSERT INTO mirrors.standings VALUES ('mysql://db/app', 'shop', 1, 1, 2, %s, 'w', now(), now())", (CANARY,)
        )
    with guarded(module_database_url, console=True) as shop:
        yield Told(shop, ["/", "/doctor", "/imports", "/jobs", f"/jobs/{job}", "/parked", "/projections"])


def test_pages_show_names_of_people_only_to_readers_of_users(told: Told) -> None:
    looks, reads = (
        bearing(new_key(told.shop.database_url, "integration", scopes)) for scopes in (SCOPES, [*SCOPES, "users:read"])
    )
    for path in told.paths:
        hidden, shown = (
            loopback.get(f"{told.shop.http.base_url}/console{path}", headers=key) for key in (looks, reads)
        )
        assert (hidden.status_code, shown.status_code) == (200, 200)
        assert CANARY in shown.text, path
        assert CANARY not in hidden.text, path
        assert ("users:read" in hidden.text) == (path != "/projections"), path  # there a sentence says where to look
