"""Puts the guard together, as the settings say."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from access.guard import Guard, OpenGuard, Rates
from access.holder import KeyHolder
from access.hosts import Hosts
from access.issuer import IssuerKeys
from access.limits import Rate
from access.tokens import Tokens, Trusted
from service.settings import Settings

WRITES_BURST = 100
READS_BURST = 500


class Access:
    """The guard of the application, and what it holds while it serves."""

    def __init__(self, settings: Settings) -> None:
        assert settings.database_url is not None
        hosts = Hosts(settings.allowed_hosts)
        self.is_open = settings.no_auth
        self._issuer_keys: IssuerKeys | None = None
        self.holder = KeyHolder(settings.database_url)
        self.guard: Guard | OpenGuard = OpenGuard(hosts, settings.cors_origins)
        if not self.is_open:
            self.guard = Guard(
                self.holder,
                self._tokens(settings),
                hosts,
                Rates(
                    Rate("writes", settings.writes_per_minute, WRITES_BURST),
                    Rate("reads", settings.reads_per_minute, READS_BURST),
                    Rate("failures", settings.failures_per_minute, settings.failures_per_minute),
                ),
                is_catalog_public=settings.public_catalog,
                behind_proxy=settings.behind_proxy,
            )

    def _tokens(self, settings: Settings) -> Tokens | None:
        if settings.jwt_issuer is None or settings.jwt_audience is None:
            return None
        pairs = [pair.partition("=") for pair in (settings.jwt_role_map or "").split(",") if pair]
        trusted = Trusted(
            settings.jwt_issuer,
            settings.jwt_audience,
            frozenset(settings.jwt_algorithms.split(",")),
            settings.jwt_role_claim,
            {name.strip(): role.strip() for name, _, role in pairs},
        )
        self._issuer_keys = IssuerKeys(settings.jwt_issuer, settings.jwt_jwks_url)
        return Tokens(trusted, self._issuer_keys, self.holder.user_of)

    @property
    def trouble_of_tokens(self) -> str | None:
        """Why the keys of the token issuer are not as new as they should be, if an issuer is trusted."""
        return self._issuer_keys.trouble if self._issuer_keys else None

    @asynccontextmanager
    async def kept_current(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if self._issuer_keys:
                await stack.enter_async_context(self._issuer_keys.kept_current())
            if not self.is_open:
                await stack.enter_async_context(self.holder.kept_current())
            yield
