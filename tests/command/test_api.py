"""When the writer cannot do its work, the answer says whether anything happened and when to come back."""

from collections.abc import Awaitable
from typing import Any

import pytest
from starlette.requests import Request

from command.api import Commands
from command.users import RegisterUser
from contract.callers import NOBODY
from contract.problems import Problem
from eventlog.events.product import ProductDiscontinued
from eventlog.ids import new_id
from tests.builders import append_events, new_event
from tests.command.driving import Driver, driving
from tests.command.proxy import Fault, Proxy
from tests.served import problem, served

NOWHERE = "postgresql://orders@127.0.0.1:1/orders"


def request(**headers: str) -> Request:
    """POST /users with these headers."""
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/users",
        "query_string": b"",
        "headers": raw,
        "caller": NOBODY,
    }
    return Request(scope | {"server": ("testserver", 80), "scheme": "http"})


def a_user() -> RegisterUser:
    user_id = new_id()
    return RegisterUser(user_id, "Ada", f"{user_id}@example.org", None)


async def told(answering: Awaitable[object]) -> tuple[int, str, str | None]:
    """The problem that is answered: status, code, Retry-After."""
    with pytest.raises(Problem) as caught:
        await answering
    answer = caught.value.response()
    return answer.status_code, caught.value.code, answer.headers.get("retry-after")


@pytest.mark.anyio
async def test_a_writer_that_stops_takes_no_more(database_url: str) -> None:
    async with driving(database_url) as driver:
        await driver.writer.stop()
        asked = Commands(driver.writer).run(request(), a_user())
        assert await told(asked) == (503, "overloaded", "1")


@pytest.mark.anyio
async def test_an_unknown_outcome_differs_from_a_commit_that_did_not_happen(writer: Driver) -> None:
    async with (
        Proxy(writer.database_url).running(writer.database_url) as proxy,
        driving(proxy.url, answer_seconds_max=0.9) as driver,
    ):
        commands = Commands(driver.writer)
        proxy.fault, proxy.times = Fault.COMMIT_LOST, 2
        assert await told(commands.run(request(), a_user())) == (503, "unavailable", "1")
        proxy.fault = Fault.ANSWER_LOST_AND_SERVER_GONE
        assert await told(commands.run(request(), a_user())) == (503, "outcome-unknown", "1")
        assert await told(commands.run(request(), a_user())) == (503, "unavailable", "1")


def test_without_a_database_commands_are_unavailable_and_can_be_repeated() -> None:
    with served(NOWHERE) as shop:
        answer = shop.post("/users", json={"name": "Ada", "email": "ada@example.org"})
        assert problem(answer) == (503, "unavailable")
        assert answer.json()["retryable"] is True
        assert "\n" not in answer.json()["detail"]
        invalid = shop.post("/users", json={"name": "Ada"})
        assert problem(invalid) == (422, "validation-error")


def test_a_stream_that_cannot_be_read_refuses_its_own_commands_and_says_so(database_url: str) -> None:
    with served(database_url) as shop:
        broken, well = shop.product(), shop.product()
        unknown = new_event(f"product-{broken['id']}", 3, ProductDiscontinued())._replace(type="ProductPainted")
        append_events(database_url, [unknown])
        head = shop.head()
        restock = {"delta": 1, "reason": "found"}
        answer = shop.post(f"/products/{broken['id']}/stock", json=restock)
        assert problem(answer) == (503, "unreadable-stream")
        assert answer.headers["retry-after"] == "60"
        assert shop.head() == head
        assert shop.post(f"/products/{well['id']}/stock", json=restock).status_code == 200
