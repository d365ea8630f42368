"""Finds out whether a pooler gives a session changing connections to PostgreSQL.

A pooler in session mode gives each session one connection until it ends. In transaction or statement mode a session's
settings, prepared statements and locks end up on connections that other sessions get next.
"""

import contextlib
import threading
from typing import Any

import psycopg
from psycopg import ConnectionInfo

from database.deadline import hang_up

# In session mode the pooler may have no connection left for a second session. Then there is nothing to find out.
CONNECT_SECONDS_MAX = 2
ANSWER_SECONDS_MAX = 1.0

PROCESS = b"SELECT pg_backend_pid()"


def parameters_of(session: ConnectionInfo) -> dict[str, str]:
    """The session's parameters but the password. psycopg's own function fails for a user without a home directory."""
    return {
        it.keyword.decode(): it.val.decode()
        for it in session.pgconn.info
        if it.val is not None and it.keyword != b"password"
    }


def processes_of_another(session: ConnectionInfo) -> set[int]:
    """The server processes that another session like this one is given for two statements; empty if not known.

    A pooler hands out the connection that was used last, so the other session gets ours; or the one unused for longest,
    so its two statements get two, unless there is only ours.
    """
    given: dict[str, Any] = {
        **parameters_of(session),
        "host": session.host,  # of several the one that has answered
        "port": session.port,
        "password": session.password,
        "connect_timeout": CONNECT_SECONDS_MAX,
    }
    with (
        contextlib.suppress(psycopg.OperationalError),
        psycopg.connect(**given, autocommit=True, prepare_threshold=None) as other,
    ):
        timer = threading.Timer(ANSWER_SECONDS_MAX, hang_up, [other])
        timer.start()
        try:
            return {row[0] for _ in range(2) for row in other.execute(PROCESS)}
        finally:
            timer.cancel()
    return set()
