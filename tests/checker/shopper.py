"""A client whose every word is recorded: one thread's way to the API."""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import httpx

from tests import loopback
from tests.checker.history import Attempt, Command, History, Outcome, Read, send

ANSWER_SECONDS_MAX = 30.0
RETRY_PAUSE_SECONDS = 0.05
# Worth another attempt with the same key: the service did not do it, or nobody knows.
RETRIED = {"no-connection", "unavailable", "overloaded"}


class Shopper:
    """Sends commands to the API at `url`, which may change when `url` is a function."""

    def __init__(self, history: History, url: str | Callable[[], str], seconds_max: float = ANSWER_SECONDS_MAX) -> None:
        self.history = history
        self._url = url if callable(url) else lambda: url
        self._clients: dict[str, httpx.Client] = {}
        self._seconds_max = seconds_max

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            client.close()

    @property
    def http(self) -> httpx.Client:
        url = self._url()
        if url not in self._clients:
            self._clients[url] = loopback.Client(base_url=url, timeout=self._seconds_max)
        return self._clients[url]

    def once(self, method: str, path: str, body: dict[str, Any] | None = None, key: str | None = None) -> Attempt:
        """Send a new command, once."""
        return self.send(self.history.command(method, path, body, key))

    def send(self, command: Command) -> Attempt:
        """Send a command once (more)."""
        return send(self.http, self.history, command)

    def persist(
        self, method: str, path: str, body: dict[str, Any] | None = None, key: str | None = None, seconds: float = 60
    ) -> Attempt:
        """Send a new command until it is known what became of it, as far as that is safe; returns the last attempt.

        It is with a key. Without one it is when nothing was done, and when doing it again does nothing.
        """
        command = self.history.command(method, path, body, key)
        deadline = time.monotonic() + seconds
        while True:
            attempt = self.send(command)
            undecided = attempt.outcome is Outcome.UNKNOWN
            again = attempt.code in RETRIED or (undecided and (key is not None or _is_idempotent(command)))
            if not again or time.monotonic() > deadline:
                return attempt
            time.sleep(RETRY_PAUSE_SECONDS)

    def read(self, path: str, token: int | None = None) -> httpx.Response | None:
        """GET a resource, and record it when it comes. None when no answer does."""
        try:
            answer = self.http.get(path, headers={} if token is None else {"Sync-Token": str(token)})
        except httpx.TransportError:
            return None
        if answer.status_code == 200:
            version, position = (
                int(answer.headers["etag"].strip('"').partition(".")[0]),
                int(answer.headers["sync-token"]),
            )
            self.history.record_read(Read(path, token, version, position, answer.json()))
        return answer


def _is_idempotent(command: Command) -> bool:
    """Whether the rules themselves see to it that the command is not done twice."""
    body = command.body or {}
    match command.kind:
        case "register-user" | "add-product" | "delete-user" | "discontinue-product":
            return True
        case "place-order":
            return body.get("external_id") is not None
        case "cancel-order":
            return "lines" not in body
    return False
