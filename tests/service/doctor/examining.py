"""What the doctor's tests share: an examination, and statements that make the database ill."""

import psycopg

from service.doctor import examine
from service.doctor.finding import Finding


def findings(url: str, check: str) -> list[Finding]:
    with psycopg.connect(url, autocommit=True) as connection:
        return list(examine(connection).findings[check])


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())
