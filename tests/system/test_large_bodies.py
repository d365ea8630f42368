"""Many large bodies at once are served without filling the memory of the process, and small orders meanwhile."""

import json
import socket
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path

from contract.requests import BODY_BYTES_MAX, LARGE_BODIES_MAX, LARGE_BODY_SECONDS_MAX
from tests import loopback
from tests.system.stack import Stack
from tests.system.weighing import resident_bytes

CLIENTS = 200
# That hold back the end of a chunked body.
HOLDING = 300
PEAK_BYTES_MAX = 250 * 1024**2


def exchange(client: socket.socket, rest: bytes) -> str:
    """Send the rest of a request; the code of its problem, or `done`."""
    client.sendall(rest)
    with HTTPResponse(client) as answer:
        answer.begin()
        return str(json.loads(answer.read()).get("code", "done"))


def test_large_bodies_do_not_fill_the_memory(tmp_path: Path) -> None:
    with Stack(tmp_path, workers=0) as stack, ExitStack() as closing:
        shop = closing.enter_context(loopback.Client(base_url=stack.urls[0], timeout=10))
        ada = shop.post("/users", json={"name": "Ada", "email": "ada@example.org"}).json()
        tea = {"sku": "tea", "name": "Tea", "price": "2.5", "currency": "EUR", "stock": None}
        shop.post("/products", json=tea)
        small = {"user_id": ada["id"], "items": [{"sku": "tea", "quantity": 1}]}
        large = json.dumps(small).encode().ljust(BODY_BYTES_MAX)
        head = (
            "POST /orders HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(large)}\r\n\r\n"
        )
        request = head.encode() + large

        chunked = head.replace(f"Content-Length: {len(large)}", "Transfer-Encoding: chunked").encode()
        chunked += b"%x\r\n%b\r\n0\r\n\r\n" % (len(large), large)

        def sockets(count: int = CLIENTS) -> list[socket.socket]:
            address = ("127.0.0.1", shop.base_url.port)
            return [closing.enter_context(socket.create_connection(address, timeout=10)) for _ in range(count)]

        with ThreadPoolExecutor(CLIENTS) as pool:
            assert Counter(pool.map(lambda it: exchange(it, request), sockets())) == {"done": CLIENTS}
            # Clients that hold the last byte back keep the others waiting, but not for long.
            slow = sockets()
            list(pool.map(lambda it: it.sendall(request[:-1]), slow))
            assert {shop.post("/orders", json=small).status_code for _ in range(20)} == {201}
            time.sleep(LARGE_BODY_SECONDS_MAX)  # the others have waited for so long by now
            codes = Counter(pool.map(lambda it: exchange(it, request[-1:]), slow))
            holding = sockets(HOLDING)
            list(pool.map(lambda it: it.sendall(chunked[:-1]), holding))
            time.sleep(LARGE_BODY_SECONDS_MAX + 1)  # most were refused by now, and the service reads the rest of them
            for it in holding:
                it.close()
        peak = resident_bytes(stack.apis[0].pid, "VmHWM")
        print(f"{codes}, {peak / 1024**2:.0f} MiB")
        assert codes == {"done": LARGE_BODIES_MAX, "overloaded": CLIENTS - LARGE_BODIES_MAX}
        assert peak < PEAK_BYTES_MAX
        # The room is free again.
        headers = {"Content-Type": "application/json"}
        assert {shop.post("/orders", content=large, headers=headers).status_code for _ in range(60)} == {201}
