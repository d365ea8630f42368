"""What the doctor says of the clock, the migration and Redis."""

import socket
import tempfile
from pathlib import Path

import psycopg
import pytest
import redis

from service.doctor import examine
from service.doctor.finding import Finding
from service.embedded import ValkeyServer
from tests.served import NO_REDIS


def findings(url: str, check: str, redis_url: str | None = None) -> list[Finding]:
    with psycopg.connect(url, autocommit=True) as connection:
        return list(examine(connection, redis_url=redis_url, quick=True).findings[check])


def test_a_clock_that_was_set_back_is_a_finding(database_url: str) -> None:
    assert findings(database_url, "clock") == []
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE log.head SET recorded_at = now() + interval '2 minutes'")
    (found,) = findings(database_url, "clock")
    assert found.what.startswith("the clock of PostgreSQL's machine is 1 min behind the last event")


@pytest.mark.parametrize(("moved", "told"), [("1 hour", "59 min ahead of"), ("-1 hour", "1 h behind")])
def test_a_clock_that_differs_from_that_of_this_machine_is_a_finding(database_url: str, moved: str, told: str) -> None:
    fake = f"CREATE FUNCTION fake.clock_timestamp() RETURNS timestamptz RETURN pg_catalog.now() + interval '{moved}'"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA fake")
        connection.execute(fake.encode())
        connection.execute("SET search_path = fake, pg_catalog, public")
        *_, found = examine(connection, quick=True).findings["clock"]
    assert found.what == f"the clock of PostgreSQL's machine is {told} the clock of this one"


def test_a_database_of_another_revision_is_a_finding(database_url: str) -> None:
    assert findings(database_url, "migration") == []
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("UPDATE log.orders_schema_version SET version_num = '0999'")
    (found,) = findings(database_url, "migration")
    assert found.what.startswith("the database is at revision 0999, and this release expects ")
    assert found.remedy.startswith("orders migrate")


def test_a_redis_that_is_away_is_a_finding(database_url: str) -> None:
    (found,) = findings(database_url, "redis", NO_REDIS)
    assert found.what.startswith("Redis cannot be reached (")
    assert "\n" not in found.what


def test_a_redis_that_is_frozen_does_not_answer(database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as frozen:  # the kernel accepts connections, and nobody reads them
        (found,) = findings(database_url, "redis", f"redis://127.0.0.1:{frozen.getsockname()[1]}/0")
    assert found.what == "Redis takes connections but does not answer in time"
    assert found.remedy == "restart it: it hangs"


def test_a_redis_that_refuses_writes_or_is_nearly_full_is_a_finding(database_url: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        # As root the server runs as another user, who must get through.
        Path(place).chmod(0o755)
        with ValkeyServer(Path(place)) as server, redis.Redis.from_url(server.url) as client:
            assert findings(database_url, "redis", server.url) == []
            used = int(client.info("memory")["used_memory"])
            client.config_set("maxmemory", used * 107 // 100)
            (found,) = findings(database_url, "redis", server.url)
            assert found.what.startswith("Redis uses 9")
            client.config_set("maxmemory", 1)
            (found,) = findings(database_url, "redis", server.url)
            assert found.what == "Redis rejects commands (command not allowed when used memory > 'maxmemory')"
            assert found.remedy.startswith("raise maxmemory")
