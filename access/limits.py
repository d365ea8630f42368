"""Rate limits in memory: the generic cell rate algorithm (ATM Forum, 1996), which keeps one time for each account.

They hold for one process, and need no Redis: a broker that is down never touches a request. Exact limits over several
processes belong to a gateway.
"""

from collections.abc import Callable
from time import monotonic

# When so many accounts are known, those that have used nothing lately are forgotten.
ACCOUNTS_MAX = 10_000
MINUTE = 60.0


class Rate:
    """At most `per_minute` a minute, of which `burst` may come at once. 0 a minute: no limit."""

    def __init__(self, name: str, per_minute: int, burst: int, clock: Callable[[], float] = monotonic) -> None:
        self.name = name
        self.per_minute = per_minute
        self._interval = MINUTE / per_minute if per_minute else 0.0
        self._tolerance = self._interval * max(0, min(burst, per_minute) - 1)
        self._clock = clock
        self._due: dict[str, float] = {}  # when the account would have used nothing, had it kept to the rate
        self.policy = f'"{name}";q={per_minute};w=60'.encode()
        self._shown = f'"{name}";r=%d;t=%.0f'.encode()

    def take(self, account: str) -> float:
        """Count one. Returns the seconds to wait until the next one is allowed; then this one does not count. 0: go."""
        if not self.per_minute:
            return 0.0
        now = self._clock()
        due = max(self._due.get(account, 0.0), now)
        if due - now > self._tolerance:
            return due - now - self._tolerance
        if len(self._due) >= ACCOUNTS_MAX:
            self._forget(now)
        self._due[account] = due + self._interval
        return 0.0

    @property
    def accounts(self) -> int:
        """How many accounts are known."""
        return len(self._due)

    def state(self, account: str) -> bytes:
        """The header RateLimit: how many are left now, and in how many seconds all are."""
        used = max(0.0, self._due.get(account, 0.0) - self._clock())
        left = int((self._tolerance + self._interval - used) / self._interval) if self._interval else 0
        return self._shown % (max(0, left), used)

    def _forget(self, now: float) -> None:
        self._due = {account: due for account, due in self._due.items() if due > now}
        if len(self._due) > ACCOUNTS_MAX // 2:  # else the next request could have to look through all of them again
            self._due.clear()
