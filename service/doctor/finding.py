"""Findings of an examination, each with its remedy."""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import NamedTuple
from urllib.parse import quote

from psycopg import Connection
from psycopg.rows import dict_row

# Of the same kind there may be millions; the first ones tell.
FINDINGS_MAX = 20
_PSQL = 'psql "$DATABASE_URL"'
_SOURCE = "SELECT source, quote_ident(current_database()), quote_ident(session_user) FROM pg_settings WHERE name = %s"
RESTORE = "nothing of ours writes that: find out who did, and restore the log from a backup"


class Finding(NamedTuple):
    """Something that is not as it should be, and what to do about it. A sentence each, without full stops.

    `since` is when it began, where that is known. `public` is `what` without an error that may quote a person; None:
    `what` has no such error. `accepted`: an operator has decided to live with it.
    """

    what: str
    remedy: str
    since: datetime | None = None
    public: str | None = None
    accepted: bool = False


class Check(NamedTuple):
    """A look at one thing, in the examination's snapshot. It yields as many findings as there are.

    `why` says why its findings matter, in a sentence without a full stop.
    """

    name: str
    run: Callable[[Connection], Iterable[Finding]]
    why: str

    def findings(self, connection: Connection) -> list[Finding]:
        """The first FINDINGS_MAX, each with a remedy that can be pasted where the connection is from.

        When there are more, the last entry says so.
        """
        psql = _psql(connection)
        found = list(islice(self.run(connection), FINDINGS_MAX + 1))
        if len(found) > FINDINGS_MAX:
            found[FINDINGS_MAX:] = [Finding("there are more of the same kind", "begin with the first ones")]
        return [it._replace(remedy=it.remedy.replace(_PSQL, psql)) for it in found]


def with_psql(remedy: str, *more: str) -> str:
    """The remedy with the SQL behind its first colon as a command of psql. `more` are further statements."""
    words, _, statement = remedy.partition(": ")
    quoted = (re.sub(r'(["$`\\])', r"\\\1", it) for it in (statement, *more))
    return f"{words}: `{_PSQL}" + "".join(f' -c "{it}"' for it in quoted) + "`"


def set_back(connection: Connection, name: str, value: str, *first: str) -> str:
    """The remedy that gives a setting of PostgreSQL the value, at the place where it has got another one.

    `first` are statements that the remedy's session needs before.
    """
    ((source, database, role),) = connection.execute(_SOURCE, (name,)).fetchall()
    places = {
        "database": f"DATABASE {database}",
        "user": f"ROLE {role}",
        "database user": f"ROLE {role} IN DATABASE {database}",
        "global": "ROLE ALL",
    }
    if source == "session":  # which hides where another value was set
        found = f"SELECT source FROM pg_settings WHERE name = '{name}'"  # noqa: S608 - printed, not run
        return with_psql(f"take it back where this says that it was set: {found}")
    if source == "client":
        return f"take {name} out of the options in DATABASE_URL and in PGOPTIONS"
    if source == "command line":  # it outranks ALTER SYSTEM
        return f"start PostgreSQL without -c {name}"
    if place := places.get(source):
        statements = [f"ALTER {place} RESET {name}"]
    else:
        statements = [f"ALTER SYSTEM SET {name} = {value}", "SELECT pg_reload_conf()"]
    begin, *more = [*first, *statements]
    return with_psql(f"run: {begin}", *more)


def _psql(connection: Connection) -> str:
    """The call of psql. A socket's URL has no password and is shown: no shell knows that of `orders up`."""
    info = connection.info
    if not info.host.startswith("/") or info.password:
        return _PSQL
    name, user = quote(info.dbname, ""), quote(info.user, "")
    return f'psql "postgresql://{user}@/{name}?host={quote(info.host, "")}&port={info.port}"'


def damage(name: str, statement: str, what: str, why: str) -> Check:
    """A check as `of_rows` makes it, of what only a backup can mend."""
    return Check(name, of_rows(statement, what, RESTORE), why)


def first_of(statement: str) -> bytes:
    """The statement without the rows that are not told: millions would fill the memory. It is planned as it is."""
    first = f"WITH found AS MATERIALIZED ({statement}) SELECT * FROM found LIMIT {FINDINGS_MAX + 1}"  # noqa: S608 - a statement of the checks
    return first.encode()


def of_rows(statement: str, what: str, remedy: str, **limits: object) -> Callable[[Connection], Iterator[Finding]]:
    """A check whose statement returns a row for each finding.

    `what` and `remedy` are templates with the names of the columns. A column `since` is when it began. `limits` are the
    parameters of the statement.
    """

    def run(connection: Connection) -> Iterator[Finding]:
        for row in connection.cursor(row_factory=dict_row).execute(first_of(statement), limits or None):
            yield Finding(what.format(**row), remedy.format(**row), row.get("since"))

    return run
