"""The connection to the database is cut at COMMIT, again and again: what is answered is what the log says."""

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from psycopg.conninfo import conninfo_to_dict

from tests import loopback
from tests.chance import chosen_seed
from tests.command.driving import check_log
from tests.command.proxy import Fault, Proxy
from tests.system.stack import Stack, free_port

CUTS, CUTS_LONG = 20, 200  # at COMMIT
AT_ANY_MOMENT = 0.2  # the share of those that come beside
TOGETHER = 4  # requests at a time, so that batches have several
# Of the cuts that leave the server away, some last longer than the outcome is looked for.
AWAY_SECONDS, AWAY_TOO_LONG_SECONDS = 0.3, 9.0
TOO_LONG_EVERY = 20
ANSWERED_WITHIN_SECONDS = 10.5
TRIES_MAX = 20
SECONDS_A_CUT_MAX = 4
REFUSALS = {(503, "unavailable"), (503, "overloaded"), (503, "outcome-unknown")}


class Answer(NamedTuple):
    """One answer: the code of its problem, or where the log has what was accepted, and whether it is a repetition."""

    status: int
    code: str
    position: int
    replayed: bool


@dataclass
class Told:
    """A request, and what it was answered each time it was sent."""

    email: str
    key: str | None
    answers: list[Answer]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    with Stack(tmp_path, apis=0, workers=0) as stack:
        yield stack


def test_the_answers_agree_with_the_log(stack: Stack, is_long: bool) -> None:
    chance = random.Random(chosen_seed())  # noqa: S311 - to be repeated, not to be secret
    told = asyncio.run(cut_again_and_again(stack, CUTS_LONG if is_long else CUTS, chance))
    check_log(stack.database_url)
    query = "SELECT data->>'email', position FROM log.events WHERE type = 'UserRegistered'"
    positions: dict[str, list[int]] = {}
    for email, position in stack.rows(query):
        positions.setdefault(str(email), []).append(int(str(position)))
    for each in told:
        judge(each, positions.get(each.email, []))
    codes = Counter(code or str(status) for each in told for status, code, *_ in each.answers)
    print(dict(codes))
    assert codes["201"] >= len(told) / 2
    assert codes["outcome-unknown"], "the worst case did not come up"


def judge(told: Told, positions: list[int]) -> None:
    assert len(positions) <= 1, f"twice: {told}"
    *before, last = told.answers
    assert all((it.status, it.code) in REFUSALS for it in before), told
    was_unknown = any(it.code == "outcome-unknown" for it in told.answers)
    if last.status == 201:
        assert positions == [last.position], f"a lie: {told} {positions}"
        assert was_unknown or not last.replayed, f"it was told that nothing had been appended: {told}"
    else:
        assert (last.status, last.code) in REFUSALS, told
        assert was_unknown or not positions, f"it was told that nothing had been appended: {told}"
        assert not told.key, f"the key did not settle it: {told}"


async def cut_again_and_again(stack: Stack, cuts: int, chance: random.Random) -> list[Told]:
    url = f"http://127.0.0.1:{free_port()}"
    told: list[Told] = []
    async with (
        asyncio.timeout(cuts * SECONDS_A_CUT_MAX),
        Proxy(stack.database_url).running(stack.database_url) as proxy,
    ):
        api = stack.service("cut", "serve", "--port", url.rpartition(":")[2], DATABASE_URL=as_url(proxy))
        api.start()
        try:
            async with loopback.AsyncClient(base_url=url, timeout=30) as shop:
                await until_healthy(shop)
                number = 0
                while proxy.hits < cuts:
                    asked = [request(number * TOGETHER + each, chance) for each in range(TOGETHER)]
                    told += asked
                    cutting = asyncio.create_task(cut(proxy, chance, too_long=number % TOO_LONG_EVERY == 0))
                    await asyncio.gather(*[ask(shop, each) for each in asked])
                    await cutting
                    # A COMMIT that came later than the cut has waited for is not to shut the server off for good.
                    proxy.heal()
                    for each in asked:
                        if each.key:
                            await settle(shop, each)
                    number += 1
        finally:
            await asyncio.to_thread(api.stop)
        assert "Traceback" not in api.log
    return told


async def cut(proxy: Proxy, chance: random.Random, too_long: bool) -> None:
    """One of the ways in which a connection ends, at the next COMMIT or at any moment."""
    if not too_long and chance.random() < AT_ANY_MOMENT:
        await asyncio.sleep(chance.uniform(0, 0.02))
        proxy.cut()
        return
    faults = [Fault.COMMIT_LOST, Fault.STATEMENTS_ARRIVE_COMMIT_LOST, Fault.ANSWER_LOST]
    gone = Fault.ANSWER_LOST_AND_SERVER_GONE
    fault = gone if too_long else chance.choice([*faults, gone])
    proxy.cut()  # only the first COMMIT of a connection can be told
    proxy.fault = fault
    if fault is gone:
        await asyncio.sleep(AWAY_TOO_LONG_SECONDS if too_long else AWAY_SECONDS)
        proxy.refusing = False


def request(number: int, chance: random.Random) -> Told:
    return Told(f"user{number}@example.org", f"key-{number}" if chance.random() < 0.5 else None, [])


async def ask(shop: httpx.AsyncClient, told: Told) -> None:
    headers = {"Idempotency-Key": told.key} if told.key else {}
    began = asyncio.get_running_loop().time()
    answer = await shop.post("/users", json={"name": "Ada", "email": told.email}, headers=headers)
    assert asyncio.get_running_loop().time() - began < ANSWERED_WITHIN_SECONDS
    document = json.loads(answer.content)
    position = int(answer.headers.get("sync-token", 0))
    replayed = "idempotency-replayed" in answer.headers
    told.answers.append(Answer(answer.status_code, document.get("code", ""), position, replayed))


async def settle(shop: httpx.AsyncClient, told: Told) -> None:
    """Repeat it with its key until it is accepted, as a good client does."""
    for _ in range(TRIES_MAX):
        if told.answers[-1].status == 201:
            return
        await asyncio.sleep(0.1)
        await ask(shop, told)


async def until_healthy(shop: httpx.AsyncClient) -> None:
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await shop.get("/healthz")).status_code == 200:
                    return
            await asyncio.sleep(0.05)


def as_url(proxy: Proxy) -> str:
    """The proxy's address, as the settings want it."""
    to = conninfo_to_dict(proxy.url)
    return f"postgresql://{to['user']}@{to['host']}:{to['port']}/{to['dbname']}?sslmode=disable&gssencmode=disable"
