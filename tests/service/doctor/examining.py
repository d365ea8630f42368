"""What the doctor's tests share: an examination, and statements that make the database ill."""

import shlex

import psycopg

from service.doctor import examine
from service.doctor.finding import Finding


def findings(url: str, check: str) -> list[Finding]:
    with psycopg.connect(url, autocommit=True) as connection:
        return list(examine(connection).findings[check])


def statements(remedy: str) -> list[str]:
    """The SQL of the command that a remedy prints, as a shell would hand it to psql."""
    (command,) = [it for it in remedy.split("`") if it.startswith("psql ")]
    program, url, *arguments = shlex.split(command)
    assert (program, set(arguments[::2])) == ("psql", {"-c"})
    if url != "$DATABASE_URL":  # the tests' server listens on a socket, and its URL is shown
        psycopg.connect(url).close()
    return arguments[1::2]


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())
