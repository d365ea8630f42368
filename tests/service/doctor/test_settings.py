"""What the doctor says of settings of PostgreSQL, wherever they were set."""

import os
from collections.abc import Iterator

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from service.doctor import examine
from service.doctor.finding import set_back
from tests.service.doctor.examining import findings, run, statements

PLACES = ["DATABASE {database}", "ROLE {role}", "ROLE {role} IN DATABASE {database}"]
SETTINGS = [("writes", "default_transaction_read_only", "on"), ("vacuum", "track_counts", "off")]


@pytest.fixture
def url_of_role(database_url: str) -> Iterator[str]:
    """The database's URL for a role of its own, so that a setting of the role reaches no other test."""
    name = f"changed_{os.getpid()}"
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} SUPERUSER LOGIN".encode())
        yield make_conninfo(database_url, user=name)
        admin.execute("SET default_transaction_read_only = off")
        admin.execute(f"DROP ROLE {name}".encode())


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("check", "name", "value"), SETTINGS)
def test_the_remedy_of_a_setting_takes_it_back_where_it_was_set(
    url_of_role: str, place: str, check: str, name: str, value: str
) -> None:
    known = conninfo_to_dict(url_of_role)
    where = sql.SQL(place).format(  # type: ignore[arg-type] # SQL() wants a literal; PLACES has only those
        database=sql.Identifier(str(known["dbname"])), role=sql.Identifier(str(known["user"]))
    )
    assert findings(url_of_role, check) == []
    with psycopg.connect(url_of_role, autocommit=True) as admin:
        admin.execute(sql.SQL("ALTER {} SET {} = {}").format(where, sql.Identifier(name), sql.Literal(value)))
    (found,) = findings(url_of_role, check)
    assert found.what == f"{name} is {value}"
    run(url_of_role, *statements(found.remedy))
    assert findings(url_of_role, check) == []


def test_the_remedy_of_a_setting_of_all_roles_takes_it_back_for_all_roles(database_url: str) -> None:
    """A setting that changes nothing here, because other tests are on the same server."""
    run(database_url, "ALTER ROLE ALL SET geqo_seed = 0.5")
    with psycopg.connect(database_url, autocommit=True) as connection:
        run(database_url, *statements(set_back(connection, "geqo_seed", "0")))
    with psycopg.connect(database_url, autocommit=True) as connection:
        assert connection.execute("SHOW geqo_seed").fetchall() == [("0",)]


@pytest.mark.parametrize(("check", "name", "value"), SETTINGS)
def test_a_setting_in_the_url_is_taken_out_of_the_url(database_url: str, check: str, name: str, value: str) -> None:
    url = make_conninfo(database_url, options=f"-c {name}={value}")
    assert [it.remedy for it in findings(url, check)] == [
        f"take {name} out of the options in DATABASE_URL and in PGOPTIONS"
    ]


def test_a_setting_of_the_command_line_is_taken_out_of_the_command_line(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        ((name,),) = connection.execute("SELECT min(name) FROM pg_settings WHERE source = 'command line'").fetchall()
        assert set_back(connection, name, "on") == f"start PostgreSQL without -c {name}"


def test_the_doctor_reports_a_database_that_only_reads_and_not_its_own_read_only_session(url_of_role: str) -> None:
    name = conninfo_to_dict(url_of_role)["dbname"]
    only_reads = "SET default_transaction_read_only = on"
    with psycopg.connect(url_of_role, autocommit=True) as connection:
        connection.execute(only_reads)
        assert list(examine(connection).findings["writes"]) == []
    run(url_of_role, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    with psycopg.connect(url_of_role, autocommit=True) as connection:
        connection.execute(only_reads)
        (found,) = examine(connection).findings["writes"]
    (statement,) = statements(found.remedy)
    with psycopg.connect(url_of_role, autocommit=True) as connection:
        assert connection.execute(statement.encode()).fetchall() == [("database",)]
