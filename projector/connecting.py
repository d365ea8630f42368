"""Connections for projecting."""

from collections.abc import Mapping

from psycopg import Connection

from database import sessions
from database.sessions import NO_SETTINGS, Limits
from eventlog import stalled

# Tables are locked for moments only: by a swap, or by a migration.
LOCK_SECONDS_MAX = 10
LIMITS = Limits(lock=LOCK_SECONDS_MAX, idle_in_transaction=stalled.SECONDS_MAX)
# When the server's machine is gone, no answer comes: the kernel ends the connection after this.
VANISHED_MS_MAX = 20_000


def connect(
    database_url: str,
    connection_class: type[Connection] = Connection,
    limits: Limits = LIMITS,
    settings: Mapping[str, str] = NO_SETTINGS,
) -> Connection:
    """A connection in autocommit. Raises psycopg.OperationalError."""
    return sessions.connect(
        database_url,
        "orders projector",
        limits,
        connection_class=connection_class,
        settings=settings,
        tcp_user_timeout=VANISHED_MS_MAX,
        keepalives_idle=VANISHED_MS_MAX // 2_000,
    )
