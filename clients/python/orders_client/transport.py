"""An httpx transport that retries safely and reads its own writes. It serves `httpx.Client` and `httpx.AsyncClient`.

- Every POST gets an Idempotency-Key, and all tries of a request carry the same one.
- A request is tried again when the connection fails or the answer says that a later try may succeed. The wait is at
  least the answer's Retry-After.
- Every GET carries the highest Sync-Token of the answers so far, so it sees all that this transport wrote or read.
"""

import asyncio
import email.utils
import random
import threading
import time
import uuid

import httpx

TRIES_MAX = 6
SECONDS_MAX = 60.0
FIRST_WAIT_SECONDS = 0.1
_LATER = {408, 429, 500, 502, 503, 504}


class NoProblemDocument(httpx.TransportError):
    """An error without a body that the generated code could read: a proxy answered, not the service."""


class OrdersTransport(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Give it to one service only: a Sync-Token is a position in that service's log.

    `sync_token` is the highest one so far; pass it on to another process that has to see the same. `inner` and
    `inner_async` carry the single tries.
    """

    def __init__(
        self,
        *,
        sync_token: int = 0,
        tries_max: int = TRIES_MAX,
        seconds_max: float = SECONDS_MAX,
        inner: httpx.BaseTransport | None = None,
        inner_async: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.sync_token = sync_token
        self._token_lock = threading.Lock()
        self._tries_max = tries_max
        self._seconds_max = seconds_max
        self._inner = inner
        self._inner_async = inner_async

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        inner = self._inner = self._inner or httpx.HTTPTransport()
        tries = self._begin(request)
        while True:
            answer, error = None, None
            try:
                answer = inner.handle_request(request)
                answer.read()
            except httpx.TransportError as failure:
                answer, error = None, failure
            wait = tries.wait_before_next(answer)
            if wait is None:
                return self._end(request, answer, error)
            time.sleep(wait)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        inner = self._inner_async = self._inner_async or httpx.AsyncHTTPTransport()
        tries = self._begin(request)
        while True:
            answer, error = None, None
            try:
                answer = await inner.handle_async_request(request)
                await answer.aread()
            except httpx.TransportError as failure:
                answer, error = None, failure
            wait = tries.wait_before_next(answer)
            if wait is None:
                return self._end(request, answer, error)
            await asyncio.sleep(wait)

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()

    async def aclose(self) -> None:
        if self._inner_async is not None:
            await self._inner_async.aclose()

    def _begin(self, request: httpx.Request) -> "_Tries":
        if request.method == "POST":
            request.headers.setdefault("Idempotency-Key", str(uuid.uuid4()))
        if request.method == "GET" and self.sync_token:
            request.headers.setdefault("Sync-Token", str(self.sync_token))
        return _Tries(request, self._tries_max, time.monotonic() + self._seconds_max)

    def _end(
        self, request: httpx.Request, answer: httpx.Response | None, error: httpx.TransportError | None
    ) -> httpx.Response:
        if answer is None:
            raise error or httpx.TransportError("no answer")
        if answer.is_error and not _is_json(answer):
            raise NoProblemDocument(f"{request.method} {request.url.path}: {answer.status_code} from a proxy")
        token = answer.headers.get("Sync-Token", "")
        if token.isdecimal():
            with self._token_lock:
                self.sync_token = max(self.sync_token, int(token))
        return answer


class _Tries:
    """The tries of one request: whether there is another one, and how long to wait before it."""

    def __init__(self, request: httpx.Request, tries_max: int, deadline: float) -> None:
        self._request = request
        self._left = tries_max
        self._deadline = deadline
        self._backoff = FIRST_WAIT_SECONDS

    def wait_before_next(self, answer: httpx.Response | None) -> float | None:
        """Return the seconds to wait; None after the last try. `answer` is None when the connection failed."""
        self._left -= 1
        if self._left == 0 or not self._may_repeat(answer):
            return None
        asked = _retry_after(answer) if answer is not None else 0.0
        # Random, so that clients that failed together do not come back together.
        wait = max(asked, self._backoff) * random.uniform(1.0, 1.25)  # noqa: S311 - not a secret
        self._backoff *= 2
        return wait if time.monotonic() + wait < self._deadline else None

    def _may_repeat(self, answer: httpx.Response | None) -> bool:
        if answer is not None and (answer.status_code not in _LATER or _is_report(answer)):
            return False
        if self._request.method == "POST" or "If-Match" not in self._request.headers:
            return True
        # If the first try took effect, a second one would get 412 for the client's own change.
        return answer is not None and answer.status_code in {408, 429, 503} and b"outcome-unknown" not in answer.content


def _is_json(answer: httpx.Response) -> bool:
    return _content_type(answer).endswith("json")


def _is_report(answer: httpx.Response) -> bool:
    """True for the 503 of /readyz, which is not a problem but the answer itself."""
    return _content_type(answer) == "application/json"


def _content_type(answer: httpx.Response) -> str:
    return str(answer.headers.get("Content-Type", "")).partition(";")[0]


def _retry_after(answer: httpx.Response) -> float:
    """Seconds to wait as Retry-After asks: a number, or a date from a proxy; 0 without one."""
    asked = answer.headers.get("Retry-After", "")
    if asked.isdecimal():
        return float(asked)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(asked).timestamp() - time.time())
    except ValueError:
        return 0.0
