"""What a process answers that has no room: cheaply, in step, and not to whoever watches it."""

import pytest

from service import connections
from tests.served import problem, served

WATCHED = ["/healthz", "/readyz", "/metrics"]


@pytest.fixture(autouse=True)
def no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUESTS_MAX", -1)


def test_reads_and_commands_are_refused_and_the_connection_stays_in_step(module_database_url: str) -> None:
    with served(module_database_url) as shop:
        for _ in range(3):
            assert problem(shop.http.get("/users")) == (503, "overloaded")
            user = {"name": "Ada", "email": "ada@example.org"}
            assert problem(shop.http.post("/users", json=user)) == (503, "overloaded")
            assert shop.http.head("/users").status_code == 503
            assert problem(shop.http.get("/users", headers={"Connection": "close"})) == (503, "overloaded")


def test_whoever_watches_is_not_refused(module_database_url: str) -> None:
    with served(module_database_url) as shop:
        answers = {path: shop.http.get(path) for path in WATCHED}
        assert answers["/healthz"].status_code == 200
        assert answers["/metrics"].status_code == 200
        assert "overloaded" not in answers["/readyz"].text
