"""A shop whose texts are hostile: HTML, attributes of htmx, templates, right-to-left marks, very long words."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psycopg
from psycopg.types.json import Json

from eventlog.events import UserChanged, UserRegistered
from eventlog.ids import new_id
from projector.jobs import table
from projector.jobs.table import Wanted
from service import jobs
from service.settings import Settings
from tests.builders import Writing, append_events, new_event
from tests.projecting import sweep
from tests.served import NO_REDIS, Shop, served_with

HOSTILE = (
    '<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>"\'><b hx-get="/pwn" hx-trigger="load">x</b>'
    "{{ 7 * 7 }} \u202e\u2066right to left\u2069 " + "W" * 400
)


class Made(NamedTuple):
    """The served shop, and what was made in it."""

    shop: Shop
    order: str
    product: str
    user: str
    large: str
    parked: str
    job: str


@contextmanager
def hostile_shop(database_url: str) -> Iterator[Made]:
    parked = park(database_url)
    with Writing(database_url) as writing:
        writing.history(orders=8)
        user = writing.user(name=HOSTILE[:200], external_id=HOSTILE[:100])
        product = writing.product(sku=HOSTILE[:100], name=HOSTILE[:200])
        order = writing.order(user, {product: 2}, external_id=HOSTILE[-100:], note=HOSTILE[:1000])
        writing.cancel(order, {1: 1}, HOSTILE[:1000])
        writing.adjust_stock(product, -1, HOSTILE[:1000])
        writing.change_user(user, HOSTILE[1:200], "other@example.org")
        large = writing.order(user, {writing.product(): 1 for _ in range(120)}, note="a large one")
    sweep(database_url)
    job = record(database_url)
    settings = Settings(
        database_url=database_url, redis_url=NO_REDIS, allow_unsafe_database=True, console=True, no_auth=True
    )
    with served_with(settings) as shop:
        yield Made(shop, order, product, user, large, parked, job)


def park(database_url: str) -> str:
    """A stream that is parked, at an event whose type is hostile."""
    stream = f"user-{new_id()}"
    events = [new_event(stream, 1, UserRegistered(HOSTILE[:200], "parked@example.org", "parked@example.org", None))]
    events.append(new_event(stream, 2, UserChanged(HOSTILE[:200], None))._replace(type="<b hx-get=/pwn>Teleported"))
    append_events(database_url, events)
    return stream


def record(database_url: str) -> str:
    """A job that has ended, a key, an import and a mirror, with hostile texts; returns the job's id."""
    actor = {"kind": "cli", "id": HOSTILE[:80]}
    job = asyncio.run(jobs.ask(database_url, actor, Wanted("verify", "shop", reason=HOSTILE[:900])))
    difference = {"table": "users", "key": {"id": HOSTILE}, "column": "name", "stands": HOSTILE, "should_be": None}
    reject = {"file": HOSTILE, "line": 7, "code": "malformed-json", "detail": HOSTILE}
    with psycopg.connect(database_url) as connection:
        table.finish(connection, job, {"said": HOSTILE, "is_well": False, "differences": [difference]})
        connection.execute(
            "INSERT INTO operations.imports (id, path, finished_at, bytes_total, accepted, refused, first_rejects, "
            "error) VALUES (%s, %s, now(), 9, 3, %s, %s, %s)",
            (new_id(), HOSTILE, Json({HOSTILE[:50]: 1}), Json([reject]), HOSTILE),
        )
        connection.execute(
            "INSERT INTO access.api_keys (id, account, name, sha256, role, scopes, created_by) VALUES ('hostile1', "
            "'hostile1', %s, sha256('hostile'), 'staff', '{}', %s)",
            (HOSTILE[:200], HOSTILE[:80]),
        )
        connection.execute("UPDATE sales.checkpoint SET error = %s, worker = %s", (f"DiskFull: {HOSTILE}", HOSTILE))
        connection.execute(
            "INSERT INTO mirrors.standings VALUES (%s, 'shop', 1, 1, 2, %s, 'w', now(), now())", (HOSTILE, HOSTILE)
        )
    return job


def paths(made: Made) -> list[str]:
    """Every page, with what it shows of the shop."""
    last = made.shop.head()
    return [
        "/",
        "/?range=7+d",
        "/events",
        "/events?type=OrderPlaced&from=2026-01-01",
        "/events?from=nonsense",
        f"/events?stream=order-{made.order}",
        *(f"/events/{position}" for position in range(last - 6, last + 1)),
        "/events/1",
        "/events/2",
        f"/orders/{made.order}",
        f"/orders/{made.order}?version=1",
        f"/orders/{made.order}?as_of=2001-01-01",
        f"/orders/{made.large}",
        f"/products/{made.product}",
        f"/products/{made.product}?version=2",
        f"/users/{made.user}?version=1",
        "/find?q=nothing",
        "/projections",
        "/parked",
        "/jobs",
        f"/jobs/{made.job}",
        "/replay?projection=shop",
        f"/skip?projection=shop&stream={made.parked}",
        "/imports",
        "/audit",
        "/keys",
        "/doctor",
        "/configuration",
        "/nowhere",
    ]
