"""A typed client for the orders service: the generated code, on a transport that retries safely.

`connect` returns the client that the functions in `orders_client.generated.api` take. `expect` takes their results.
"""

from typing import TypeVar

import httpx

from orders_client.generated import AuthenticatedClient
from orders_client.generated.models import ProblemView
from orders_client.transport import NoProblemDocument, OrdersTransport

__all__ = ["NoProblemDocument", "OrdersTransport", "Refused", "connect", "expect"]

T = TypeVar("T")

# The service answers a command within 10 seconds.
TRY_SECONDS_MAX = 15.0


def connect(
    base_url: str,
    key: str,
    *,
    transport: OrdersTransport | None = None,
    headers: dict[str, str] | None = None,
    try_seconds_max: float = TRY_SECONDS_MAX,
) -> AuthenticatedClient:
    """Return a client for the service at `base_url`. `key` is an API key, or a token of the issuer that it trusts.

    Pass a `transport` to read its `sync_token`, to choose how often it tries, or to share it between clients.
    `try_seconds_max` limits each wait for bytes of one try. A request with `Prefer: wait=30` needs more than 30.
    """
    return AuthenticatedClient(
        base_url=base_url,
        token=key,
        headers=dict(headers or {}),
        timeout=httpx.Timeout(try_seconds_max),
        httpx_args={"transport": transport or OrdersTransport()},
    )


class Refused(Exception):
    """The service answered with this problem."""

    def __init__(self, problem: ProblemView) -> None:
        super().__init__(f"{problem.code}: {problem.detail}")
        self.problem = problem


def expect(kind: type[T], parsed: object) -> T:
    """Return what the service answered, which has to be of this kind. Raises Refused for a problem."""
    if isinstance(parsed, ProblemView):
        raise Refused(parsed)
    if not isinstance(parsed, kind):
        raise TypeError(f"expected {kind.__name__}, got {parsed!r}")
    return parsed
