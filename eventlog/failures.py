"""The meaning of a PostgreSQL error for the transaction that it ended."""

import psycopg

from database.remedies import DAMAGED
from database.rules import rule_of
from database.sessions import Unsuitable

# psycopg counts these as internal errors. To the writer they are outages: a standby, or a primary that has become
# one (25006), and a session that was ended because it stood still or took too long (25P03, 25P04).
_OUTAGES_BY_ANOTHER_NAME = {"25006", "25P03", "25P04"}

# An operator can mend a database without migrations (3F000, 42P01) or with other columns (42703, 42804), and a role
# without its grants (42501).
_SET_UP_WRONG = {"3F000", "42501", "42703", "42804", "42P01"}

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
    "42703": "the database lacks columns of this release",
    "42804": "the database has columns of another type than this release",
    **dict.fromkeys(DAMAGED, "a page of the database is damaged"),
    "42501": "the service's role lacks a grant that docs/deploying.md lists",
}

# Another transaction was in the way, or the server takes no writes any more: on a new connection it may go well.
_PASSING = {"40001", "40P01", "25006"}


def is_outage(error: BaseException) -> bool:
    """Whether the server is the reason and not what it was asked: later the same may succeed.

    Connections refused or lost, time-outs (55P03, 57014), conflicts (class 40), a server that starts, stops (57P01 to
    57P03), lacks resources (class 53) or only reads; tables or grants that are missing; a damaged page; a constraint, a
    column or a function of the database that refuses what the service writes.
    """
    if isinstance(error, psycopg.OperationalError | TimeoutError | OSError):
        return True
    outages = _OUTAGES_BY_ANOTHER_NAME | _SET_UP_WRONG | DAMAGED
    return (isinstance(error, psycopg.Error) and error.sqlstate in outages) or rule_of(error) is not None


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
    if isinstance(error, Unsuitable):
        return str(error)
    if rule_of(error):
        return "the database refuses what the service writes"
    state = (error.sqlstate or "") if isinstance(error, psycopg.Error) else ""
    return _PLAIN_WORDS.get(state) or _PLAIN_WORDS.get(state[:2]) or "the database cannot be reached"


def for_operators(error: BaseException) -> str:
    """The same, with the name of what in the database refuses, and what to do. It quotes no value."""
    rule = rule_of(error)
    return f"{in_plain_words(error)}: {rule}" if rule else in_plain_words(error)


def for_the_log(error: BaseException) -> str:
    """The error in one line. It quotes no value that a rule of the database refused: values may be a person's."""
    said = for_operators(error) if rule_of(error) else str(error).partition("\n")[0]
    return f"{type(error).__name__}: {said}"
