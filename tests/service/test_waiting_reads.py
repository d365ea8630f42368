"""Reads that wait for their Sync-Token have a limit of their own, and take no room from other requests."""

import time
from contextlib import ExitStack, closing

from query.waiting import CUSTOMERS_WAITING_MAX, WAITING_MAX
from service.http.connections import REQUESTS_MAX
from tests.access.keyed import bearing, guarded, new_key
from tests.builders import wait_until
from tests.served import Shop, problem, served
from tests.system.slow import SlowClient

WAITING = REQUESTS_MAX + 20
USERS = b"GET /users HTTP/1.1\r\nHost: x\r\nSync-Token: 999999999\r\nPrefer: wait=20\r\n\r\n"
EVENTS = USERS.replace(b"/users", b"/events")


def _open(stack: ExitStack, shop: Shop, count: int, request: bytes) -> list[SlowClient]:
    clients = [stack.enter_context(closing(SlowClient(str(shop.http.base_url)))) for _ in range(count)]
    for client in clients:
        client.send(request)
    return clients


def _register(shop: Shop, number: int) -> int:
    return shop.post("/users", json={"name": "Ada", "email": f"ada{number}@example.org"}).status_code


def _is_refused(shop: Shop) -> bool:
    answer = shop.get("/users", headers={"Sync-Token": "999999999", "Prefer": "wait=0"})
    return problem(answer) == (503, "overloaded")


def test_a_command_succeeds_while_more_reads_wait_than_requests_may_be_under_way(module_database_url: str) -> None:
    with served(module_database_url) as shop, ExitStack() as stack:
        _open(stack, shop, WAITING, USERS)
        time.sleep(1)  # until they wait in the API
        assert _register(shop, 1) == 201
        assert shop.get("/users").status_code == 200


def test_reads_of_tables_and_log_share_one_limit_and_a_hang_up_frees_its_place(module_database_url: str) -> None:
    with served(module_database_url) as shop, ExitStack() as stack:
        half = WAITING_MAX // 2
        _open(stack, shop, half, USERS)
        others = _open(stack, shop, half, EVENTS)

        def is_full() -> bool:
            # A look may take the place of one of them for a moment, which is refused then; so one more comes each time.
            _open(stack, shop, 1, EVENTS)
            return _is_refused(shop)

        wait_until(is_full, 10, "as many reads wait as may")
        refused = shop.get("/users", headers={"Sync-Token": "999999999"})
        assert refused.headers["retry-after"]
        assert _register(shop, 2) == 201
        assert shop.get("/users").status_code == 200
        others[0].close()
        wait_until(lambda: not _is_refused(shop), 2, "the place is free")


def test_reads_of_one_customer_that_wait_leave_room_for_other_customers(database_url: str) -> None:
    with guarded(database_url) as shop, ExitStack() as stack:
        ada, bob = (bearing(new_key(database_url, "customer", user_id=shop.user()["id"])) for _ in range(2))
        request = USERS.replace(b"\r\n\r\n", f"\r\nAuthorization: {ada['Authorization']}\r\n\r\n".encode())
        request = request.replace(b"Host: x", b"Host: localhost")
        waiting = _open(stack, shop, CUSTOMERS_WAITING_MAX, request)
        ahead = {"Sync-Token": "999999999", "Prefer": "wait=0"}

        def code(caller: dict[str, str]) -> str:
            return str(shop.get("/users", headers=ahead | caller).json()["code"])

        def is_full() -> bool:
            _open(stack, shop, 1, request)  # as above
            return code(ada) == "rate-limited"

        wait_until(is_full, 10, "the customer has as many reads that wait as may")
        assert shop.get("/users", headers=ahead | ada).headers["retry-after"]
        assert shop.get("/users", headers=ada).status_code == 200
        assert code(bob) == code({}) == "projection-behind"
        waiting[0].close()
        wait_until(lambda: code(ada) == "projection-behind", 5, "the place is free")
