"""A customer who sends every request to the API and to the model, and compares; and who can stop the worker."""

import itertools
import uuid
from collections.abc import Mapping

import httpx
from psycopg import Connection

from projector.loop import Loop, Progress
from projector.projections.shop import SHOP
from projector.replay import replay
from projector.verify import verify
from tests.projector.read_tables import contents
from tests.properties.model import Done, Json, Made, Model, Problem, Refused
from tests.properties.reading import listed, single
from tests.served import Shop, problem

EVENTS_MAX = 1_000


def nobody(_: Progress) -> None:
    """Reports go to nobody."""


class Customer:
    """The only client of a fresh shop, which is also its worker: `projecting` is the projector's connection."""

    def __init__(self, shop: Shop, projecting: Connection) -> None:
        self.model = Model()
        # All new requests with their Idempotency-Keys, if they had one, and the first answer to each accepted key.
        self.sent: list[tuple[tuple[str, str, Json | None], str | None]] = []
        # The ids of what was made, whatever became of it.
        self.made: dict[str, list[str]] = {"users": [], "products": [], "orders": []}
        self.works = True
        self._shop = shop
        self._projecting = projecting
        self._loop = Loop(SHOP)
        self._first: dict[str, httpx.Response] = {}
        self._streams: dict[str, list[str]] = {}
        self._keys = itertools.count(1)
        # What the read tables must hold at each position at which a request ended. They are at `_projected`.
        self._past = {0: self.model.copy()}
        self._projected = 0
        self._proved = 0

    # Commands

    def send(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        with_key: bool = False,
        key: str | None = None,
        token: str = "",
        stale: int | None = None,
    ) -> None:
        """Send a request; the answer, what is in the log and what is read afterwards must be the model's.

        `with_key`: with an Idempotency-Key of its own. `stale`: with an If-Match this far from the resource's version.
        """
        if with_key:
            key = f"key-{next(self._keys)}"
        if method == "POST" and not token:
            self.sent.append(((method, path, body), key))
        version = None if stale is None else self._version(path) + stale
        expected_tag = None if version is None else f'"{version}"'
        headers = {"Idempotency-Key": key, "Authorization": token or None, "If-Match": expected_tag}
        sent = {name: value for name, value in headers.items() if value is not None}
        answer = self._shop.http.request(method, path, json=body, headers=sent)

        events = self._shop.get("/events", params={"after": self.model.position, "limit": EVENTS_MAX}).json()["data"]
        id_ = answer.json()["id"] if answer.is_success and answer.content else ""
        times = {event["occurred_at"] for event in events}
        assert len(times) <= 1, "a request happens at one moment"
        made = Made(id_, next(iter(times), ""))
        expected = self.model.request(method, path, body, made, key=key, match=version)
        self._check_log(events, expected)
        match expected:
            case Done():
                if key is not None:
                    self._first[key] = answer
                self._check_done(answer, path, expected)
            case Refused(problems):
                assert any(_is(answer, one) for one in problems), f"{answer.text}, not one of {problems}"
            case None:
                assert answer.headers["idempotency-replayed"] == "true"
                assert key is not None
                assert _told(answer) == _told(self._first[key])

    def _version(self, path: str) -> int:
        resource = single(self.model, "/".join(path.split("/")[:3]))
        return 1 if isinstance(resource, Problem) else resource["version"]

    def _check_done(self, answer: httpx.Response, path: str, expected: Done) -> None:
        assert answer.status_code == expected.status, answer.text
        assert "idempotency-replayed" not in answer.headers
        assert answer.headers["sync-token"] == str(self.model.position)
        self._past[self.model.position] = self.model.copy()
        self.project()
        if expected.resource is None:
            assert answer.content == b""
            self.check_single(path)
            return
        assert answer.json() == expected.resource
        assert answer.headers["etag"] == f'"{expected.resource["version"]}"'
        if answer.status_code == 201:
            id_ = expected.resource["id"]
            assert answer.headers["location"] == f"{path}/{id_}"
            assert uuid.UUID(id_).version == 7
            self.made[path.strip("/")].append(id_)
        for touched in {resource for resource, _ in expected.events}:
            self.check_single(touched)

    def _check_log(self, events: list[Json], expected: Done | Refused | None) -> None:
        """The log has the events that the model expects, and no others: in each stream in their order."""
        happened: dict[str, list[str]] = {}
        for event in events:
            history = self._streams.setdefault(event["stream"], [])
            history.append(event["type"])
            assert event["version"] == len(history)
            happened.setdefault(event["stream"], []).append(event["type"])
        wanted: dict[str, list[str]] = {}
        for resource, kind in expected.events if isinstance(expected, Done) else ():
            stream = resource.strip("/").replace("s/", "-")
            wanted.setdefault(stream, []).append(kind)
        assert happened == wanted

    # The worker and the read tables

    def project(self, limit: int = EVENTS_MAX) -> None:
        """Project what there is, if the worker works."""
        if self.works:
            self._projected = self._loop.project(self._projecting, limit).position

    @property
    def unproved(self) -> int:
        """How many events there are behind the last replay or verify."""
        return self.model.position - self._proved

    def stop_worker(self) -> None:
        self.works = False

    def start_worker(self, events: int | None) -> None:
        """Go on to the end of the log; or for a few events, perhaps into the middle of a request, and stop again."""
        self.works = True
        self.project(events or EVENTS_MAX)
        self.works = events is None

    def replay(self) -> None:
        self._proved = self.model.position
        self._projected = replay(self._shop.database_url, SHOP, nobody).position
        assert self._projected == self.model.position

    def verify(self) -> None:
        self._proved = self.model.position
        verdict = verify(self._shop.database_url, SHOP, nobody)
        assert verdict.position == self._projected
        assert verdict.differences == []

    def check_everything(self) -> None:
        """At the end: every table, verified, replayed and still the same."""
        self.start_worker(None)
        self.verify()
        self.check_tables()
        self.check_filters()
        before = contents(self._projecting)
        self.replay()
        assert contents(self._projecting) == before
        self.check_tables()

    def check_filters(self) -> None:
        """Every filter, with values that some have and others do not."""
        for user in [*self.model.users.values()][:2]:
            self.check_list("/users", "-created_at", {"email": user["email"].upper()}, 100)
            self.check_list("/users", "created_at", {"external_id": user["external_id"]}, 100)
            self.check_list("/orders", "total", {"user_id": user["id"]}, 100)
            self.check_list(f"/users/{user['id']}/orders", "-total", {}, 100)
        for product in [*self.model.products.values()][:3]:
            self.check_list("/products", "name", {"sku": product["sku"]}, 100)
            self.check_list("/products", "-price", {"price[gt]": product["price"]}, 100)
            self.check_list("/orders", "-placed_at", {"product_id": product["id"]}, 100)
        for name, value in itertools.product(("in_stock", "discontinued"), ("true", "false")):
            self.check_list("/products", "-sku", {name: value}, 100)
        for status in ("placed", "partially_cancelled", "cancelled"):
            self.check_list("/orders", "-total", {"status": status}, 100)
        for order in [*self.model.orders.values()][:2]:
            self.check_list("/orders", "placed_at", {"external_id": order["external_id"]}, 100)
            self.check_list("/orders", "placed_at", {"placed_at[gt]": order["placed_at"]}, 100)
            self.check_list("/orders", "total", {"total[lte]": order["total"]}, 100)

    def check_tables(self) -> None:
        for path, sort in (("/users", "created_at"), ("/products", "sku"), ("/orders", "placed_at")):
            self.check_list(path, sort, {}, 100)
        for id_ in self.model.deleted:
            self.check_single(f"/users/{id_}")

    # Reads

    def check_single(self, path: str) -> None:
        """GET a resource: with the last Sync-Token, and without it what the tables have by now."""
        answer = self._get(path, {})
        if answer is None:
            return
        expected = single(self._past[self._projected], path)
        if isinstance(expected, Problem):
            assert _is(answer, expected), answer.text
            return
        assert answer.status_code == 200, answer.text
        assert answer.json() == expected
        assert answer.headers["etag"].startswith(f'"{expected["version"]}.')

    def check_list(self, path: str, sort: str, filters: Mapping[str, str | None], limit: int) -> None:
        """GET a list, page by page."""
        wanted = {name: value for name, value in filters.items() if value is not None}
        found: list[Json] = []
        answer = self._get(path, {**wanted, "sort": sort, "limit": str(limit)})
        if answer is None:
            return
        expected = listed(self._past[self._projected], path, sort, wanted)
        if isinstance(expected, Problem):
            assert _is(answer, expected), answer.text
            return
        for _ in range(EVENTS_MAX):
            assert answer.status_code == 200, answer.text
            page = answer.json()
            assert 1 <= len(page["data"]) <= limit or not page["next"]
            found += page["data"]
            assert ("next" in answer.links) == (page["next"] is not None)
            if page["next"] is None:
                break
            answer = self._shop.get(answer.links["next"]["url"])
        assert found == expected

    def _get(self, path: str, parameters: Mapping[str, str]) -> httpx.Response | None:
        """The answer to a GET that waits for all that was written; None if it is not to be known what that shows."""
        token = {"Sync-Token": str(self.model.position), "Prefer": "wait=0"}
        answer = self._shop.get(path, params=parameters, headers=token)
        if self._projected < self.model.position:
            assert problem(answer) == (503, "projection-behind")
            answer = self._shop.get(path, params=parameters)
        assert answer.headers["sync-token"] == str(self._projected)
        return answer if self._projected in self._past else None


def _is(answer: httpx.Response, expected: Problem) -> bool:
    """Whether an answer is this problem document."""
    if problem(answer) != (expected.status, expected.code):
        return False
    document = answer.json()
    if "errors" in document:
        document["errors"] = [error["pointer"] for error in document["errors"]]
    facts = {name: document.get(name) for name in ("lines", "errors") if name in document}
    return facts == expected.facts and answer.headers.get("location") == expected.location


def _told(answer: httpx.Response) -> tuple[object, ...]:
    """All of an answer that comes again when its request does."""
    return (
        answer.status_code,
        answer.content,
        *(answer.headers.get(name) for name in ("etag", "location", "sync-token")),
    )
