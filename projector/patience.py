"""A connection with a time limit for answers: a server that is frozen or cut off must not hang a worker."""

from typing import Any

import psycopg
from psycopg import Connection
from psycopg.abc import RV, PQGen

# Longer than the longest wait that PostgreSQL itself ends, which is for a lock.
ANSWER_SECONDS_MAX = 15.0


class PatientConnection(Connection[tuple[Any, ...]]):
    """Hangs up, and raises OperationalError, when a statement has no answer in time.

    It does not cancel: that would wait for the same server. A frozen server that resumes rolls the transaction
    back when it finds the connection closed; the next look at the checkpoint shows a COMMIT that took effect.
    """

    def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        try:
            return super().wait(gen, interval, ANSWER_SECONDS_MAX if timeout is None else timeout)
        except psycopg.errors._WaitTimeout:  # noqa: SLF001 -- psycopg has no other name for it
            self.pgconn.finish()
            raise psycopg.OperationalError(f"no answer from PostgreSQL for {ANSWER_SECONDS_MAX:.0f} s") from None
