"""The meaning of a PostgreSQL error for the transaction that it ended."""

import re

import psycopg

# psycopg counts these as internal errors. To the writer they are outages: a standby, or a primary that has become
# one (25006), and a session that was ended because it stood still or took too long (25P03, 25P04).
_OUTAGES_BY_ANOTHER_NAME = {"25006", "25P03", "25P04"}

# A database without migrations (3F000, 42P01), or a role without its grants (42501): an operator can mend it.
_SET_UP_WRONG = {"3F000", "42501", "42P01"}

TOOK_TOO_LONG = "the database took too long"
# Reasons for callers and /readyz, by SQLSTATE or its class. The server's own words may name hosts, users, and files.
_PLAIN_WORDS = {
    "53100": "the database's disk is full",
    "53": "the database is short of memory or connections",
    "25006": "the database is read-only",
    "25": TOOK_TOO_LONG,
    "40": "the database had a conflict",
    "55": "a lock was held for too long",
    "57014": TOOK_TOO_LONG,
    "57": "the database is starting or stopping",
    "3F000": "the database lacks tables of this release",
    "42P01": "the database lacks tables of this release",
    "42501": "the service's role lacks a grant that docs/deploying.md lists",
}

# PL/pgSQL function note_ddl() line 2 at SQL statement; the words around the name are in the server's language.
_FUNCTION = re.compile(r'^PL/.*?([\w."]+\([^)]*\))', re.MULTILINE)

# Another transaction was in the way, or the server takes no writes any more: on a new connection it may go well.
_PASSING = {"40001", "40P01", "25006"}


def is_outage(error: BaseException) -> bool:
    """Whether the server is the reason and not what it was asked: later the same may succeed.

    Connections refused or lost, time-outs (55P03, 57014), conflicts (class 40), a server that starts, stops (57P01 to
    57P03), lacks resources (class 53) or only reads; tables or grants that are missing.
    """
    if isinstance(error, psycopg.OperationalError | TimeoutError | OSError):
        return True
    return isinstance(error, psycopg.Error) and error.sqlstate in _OUTAGES_BY_ANOTHER_NAME | _SET_UP_WRONG


def is_rolled_back(error: BaseException) -> bool:
    """Whether the server said that the transaction has failed: FATAL and PANIC may come after a durable COMMIT."""
    return isinstance(error, psycopg.Error) and error.diag.severity_nonlocalized == "ERROR"


def is_passing(error: BaseException) -> bool:
    """Whether a transaction that certainly was not committed is worth another try at once, on a new connection."""
    if not isinstance(error, psycopg.Error):
        return False
    if is_rolled_back(error):
        return error.sqlstate in _PASSING
    return isinstance(error, psycopg.OperationalError)  # the connection was lost


def in_plain_words(error: BaseException) -> str:
    """Why the database failed, in words that callers may see. The error itself belongs into the log."""
    state = (error.sqlstate or "") if isinstance(error, psycopg.Error) else ""
    return _PLAIN_WORDS.get(state) or _PLAIN_WORDS.get(state[:2]) or "the database cannot be reached"


def function_of(error: psycopg.Error) -> str | None:
    """The function in which the statement failed, such as a trigger's `note_ddl()`; None if the error is not in one."""
    found = _FUNCTION.search(error.diag.context or "")
    return found and found[1]
