"""A database that lacks tables or rights, or only reads: every part says so in plain words, and what to do."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from projector.projection import Projection
from service.projections import PROJECTIONS
from service.settings import Settings
from tests.access.keyed import new_key
from tests.builders import wait_until
from tests.command_line import run_here
from tests.conftest import Servers
from tests.projecting import sweep
from tests.served import NO_REDIS, Shop, problem, served, served_with

SOON = 10
USER = {"name": "Ada", "email": "ada@example.org"}
COMMANDS = ["replay", "verify", "doctor", "status", "events", "parked", "import tests/fixtures/shop"]

NOTES_DDL = """
CREATE FUNCTION public.note_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
    INSERT INTO ddl_log VALUES (TG_TAG);
END $$;
CREATE EVENT TRIGGER note_ddl ON ddl_command_end EXECUTE FUNCTION public.note_ddl();
"""

Run = Callable[[str, str], subprocess.CompletedProcess[str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """An `orders` command on a database, from the command line to the exit code, in this process."""

    def run(url: str, command: str) -> subprocess.CompletedProcess[str]:
        arguments = command.replace("tests/", f"{Path(__file__).parents[1]}/").split()
        return run_here(arguments, {"DATABASE_URL": url, "REDIS_URL": NO_REDIS}, monkeypatch, capsys, tmp_path)

    return run


def line_of(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    assert done.stderr.startswith("orders: ")
    return done.stderr


def not_ready(shop: Shop) -> dict[str, str]:
    answer = shop.get("/readyz")
    assert answer.status_code == 503, answer.text
    reasons: dict[str, str] = answer.json()["not_ready"]
    return reasons


@pytest.fixture
def powerless_url(servers: Servers, database_url: str) -> Iterator[str]:
    """The database as a role that may connect, and nothing else."""
    role = f"powerless_{os.getpid()}"
    with psycopg.connect(servers.postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'".encode())
        given = conninfo_to_dict(database_url) | {"user": role, "password": "secret"}
        yield f"postgresql://{role}:secret@/{given['dbname']}?host={given['host']}&port={given['port']}"
        admin.execute(f"DROP ROLE {role}".encode())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_the_missing_tables_in_one_line(command: str, empty_database_url: str, run: Run) -> None:
    assert "run `orders migrate` first" in line_of(run(empty_database_url, command))


@pytest.mark.parametrize("command", [*COMMANDS, "migrate"])
def test_a_command_names_the_missing_rights_in_one_line(command: str, powerless_url: str, run: Run) -> None:
    said = line_of(run(powerless_url, command))
    assert "permission denied" in said
    assert "the role that owns the tables" in said


@pytest.mark.parametrize("command", ["replay", "verify"])
def test_an_event_trigger_finds_its_tables_in_public(command: str, database_url: str, run: Run) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute("CREATE TABLE public.ddl_log (command text)")
        admin.execute(NOTES_DDL.encode())
        admin.execute("CREATE VIEW public.names AS SELECT name FROM shop.users")
    done = run(database_url, command)
    assert done.returncode == 0, done.stderr
    with psycopg.connect(database_url) as admin:
        noted = {row[0] for row in admin.execute("SELECT command FROM public.ddl_log").fetchall()}
    assert {"CREATE SCHEMA", "CREATE TABLE"} <= noted


@pytest.mark.parametrize("command", ["replay", "verify"])
def test_a_command_names_the_function_of_a_trigger_that_lacks_its_table(
    command: str, database_url: str, run: Run
) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(NOTES_DDL.encode())
    said = line_of(run(database_url, command))
    assert 'note_ddl() in the database failed: relation "ddl_log" does not exist' in said
    assert "ALTER FUNCTION note_ddl() SET search_path" in said
    assert "orders migrate" not in said


def test_a_replay_names_a_trigger_that_objects_only_to_the_swap(database_url: str, run: Run) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute("CREATE VIEW public.names AS SELECT name FROM shop.users")
        admin.execute(NOTES_DDL.replace("ddl_command_end", "ddl_command_end WHEN TAG IN ('CREATE VIEW')").encode())
    said = line_of(run(database_url, "replay"))
    assert 'note_ddl() in the database failed: relation "ddl_log" does not exist' in said


def test_a_replay_whose_server_stops_blames_nothing_of_others(database_url: str, run: Run) -> None:
    blocked = "FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'CREATE%VIEW%'"
    with psycopg.connect(database_url, autocommit=True) as admin, psycopg.connect(database_url) as holder:
        admin.execute("CREATE VIEW public.names AS SELECT name FROM shop.users")
        holder.execute("SELECT FROM public.names")

        def stop() -> bool:
            return bool(admin.execute(f"SELECT pg_terminate_backend(pid) {blocked}".encode()).rowcount)

        stopping = threading.Thread(target=lambda: wait_until(stop, SOON, "the view to be made"))
        stopping.start()
        said = line_of(run(database_url, "replay shop"))
        stopping.join()
    assert "terminating connection" in said
    assert "drop or change it" not in said


@pytest.mark.parametrize("command", ["replay", "verify", "import tests/fixtures/shop"])
def test_a_command_that_writes_says_that_the_database_only_reads(command: str, database_url: str, run: Run) -> None:
    freeze(database_url)
    said = line_of(run(database_url, command))
    assert "read-only" in said
    assert command.startswith("import") or "default_transaction_read_only is on" in said


def test_a_migration_says_that_the_database_only_reads_if_there_is_something_to_do(
    database_url: str, empty_database_url: str, run: Run
) -> None:
    for url in (database_url, empty_database_url):
        freeze(url)
    assert "default_transaction_read_only is on" in line_of(run(empty_database_url, "migrate"))
    assert run(database_url, "migrate").returncode == 0


def freeze(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        name = conninfo_to_dict(url)["dbname"]
        connection.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'.encode())


def test_the_api_says_that_the_database_only_reads(database_url: str) -> None:
    freeze(database_url)
    with served(database_url) as shop:
        assert problem(shop.post("/users", json=USER)) == (503, "unavailable")
        assert shop.get("/users").status_code == 200
        assert "default_transaction_read_only is on" in not_ready(shop)["database"]


def test_the_api_says_that_tables_are_missing(empty_database_url: str) -> None:
    with served(empty_database_url) as shop:
        assert problem(shop.post("/users", json=USER)) == (503, "unavailable")
        assert problem(shop.get("/users")) == (503, "unavailable")
        assert problem(shop.get("/events")) == (503, "unavailable")
        assert "run `orders migrate`" in not_ready(shop)["database"]


def test_the_api_says_that_the_replica_lacks_tables(database_url: str, empty_database_url: str) -> None:
    with served_on(database_url, empty_database_url) as shop:
        assert shop.post("/users", json=USER).status_code == 201
        assert problem(shop.get("/users")) == (503, "unavailable")
        assert "QUERY_DATABASE_URL" in not_ready(shop)["replica"]


def test_the_api_says_that_its_roles_lack_rights(database_url: str, powerless_url: str) -> None:
    with served_on(powerless_url, powerless_url) as shop:
        assert problem(shop.post("/users", json=USER)) == (503, "unavailable")
        assert problem(shop.get("/users")) == (503, "unavailable")
        assert "docs/deploying.md" in not_ready(shop)["database"]
    with served_on(database_url, powerless_url) as shop:
        assert shop.post("/users", json=USER).status_code == 201
        assert problem(shop.get("/events")) == (503, "unavailable")
        assert "docs/deploying.md" in not_ready(shop)["replica"]


def test_the_api_says_that_its_role_may_not_read_a_table(database_url: str, powerless_url: str) -> None:
    role = conninfo_to_dict(powerless_url)["user"]
    sweep(database_url)
    with psycopg.connect(database_url, autocommit=True) as admin, served_on(database_url, powerless_url) as shop:
        admin.execute(f"GRANT USAGE ON SCHEMA log, shop, sales, activity TO {role}".encode())
        admin.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA log, shop, sales, activity TO {role}".encode())
        sweep(database_url)
        assert "replica" not in shop.get("/readyz").json()["not_ready"]
        admin.execute(f"REVOKE SELECT ON shop.users FROM {role}".encode())
        assert problem(shop.get("/users")) == (503, "unavailable")
        assert not_ready(shop)["replica"].startswith("the service's role may not read shop.users: give it")
        admin.execute(f"DROP OWNED BY {role}".encode())


def test_the_api_and_verify_say_that_a_read_table_or_a_column_of_it_is_gone(run: Run, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin, served(database_url) as shop:
        sweep(database_url)
        assert "database" not in shop.get("/readyz").json()["not_ready"]
        admin.execute("DROP TABLE shop.order_items CASCADE")
        assert "`orders replay` for a read table" in shop.get("/orders").json()["detail"]
        assert not_ready(shop)["database"] == "the table shop.order_items is missing: run `orders replay`"
        assert "`orders replay` for a read table" in line_of(run(database_url, "verify"))
        assert run(database_url, "replay shop").returncode == 0
        assert "database" not in shop.get("/readyz").json()["not_ready"]
        admin.execute("ALTER TABLE shop.users DROP COLUMN name CASCADE")
        assert "run `orders replay`" in shop.get("/users").json()["detail"]
        assert not_ready(shop)["database"] == "the column shop.users.name is missing: run `orders replay`"
        assert "`orders replay` for a read table" in line_of(run(database_url, "verify"))


def test_no_read_fails_with_500_while_the_database_is_away() -> None:
    nowhere = "postgresql://orders@127.0.0.1:1/orders"
    with served_on(nowhere, nowhere) as shop:
        for path in ("/keys", "/audit", "/projections", "/events", "/users", "/orders", "/products", "/sales"):
            assert problem(shop.get(path)) == (503, "unavailable"), path


def test_the_api_names_a_table_of_the_log_that_a_restore_left_out(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin, served(database_url) as shop:
        sweep(database_url)
        admin.execute("ALTER TABLE log.claims RENAME TO elsewhere")
        assert problem(shop.post("/users", json=USER)) == (503, "unavailable")
        assert not_ready(shop)["database"] == "it lacks log.claims: restore it from a backup, whole"
        admin.execute("ALTER TABLE log.elsewhere RENAME TO claims")
        assert "database" not in shop.get("/readyz").json()["not_ready"]


def served_on(database_url: str, query_database_url: str) -> contextlib.AbstractContextManager[Shop]:
    given = {"database_url": database_url, "query_database_url": query_database_url}
    return served_with(Settings(**given, redis_url=NO_REDIS, allow_unsafe_database=True, no_auth=True))


def test_the_api_says_that_it_cannot_read_its_keys(database_url: str) -> None:
    operator = {"Authorization": f"Bearer {new_key(database_url, 'operator')}"}
    settings = Settings(database_url=database_url, redis_url=NO_REDIS, allow_unsafe_database=True)
    with psycopg.connect(database_url, autocommit=True) as admin:
        sweep(database_url)
        with served_with(settings) as shop:
            assert shop.get("/readyz", headers=operator).status_code == 200
            admin.execute("ALTER TABLE access.api_keys_version RENAME TO elsewhere")

            def says_so() -> bool:
                answer = shop.get("/readyz", headers=operator)
                return "a revoked key may still work" in answer.json()["degraded"].get("access", "")

            wait_until(says_so, SOON, "the reason")
            assert shop.get("/users", headers=operator).status_code == 200
        with served_with(settings) as shop:
            assert problem(shop.get("/users", headers=operator)) == (503, "auth-unavailable")
            assert shop.get("/readyz").status_code == 503
            admin.execute("ALTER TABLE access.elsewhere RENAME TO api_keys_version")
            sweep(database_url)
            wait_until(lambda: shop.get("/readyz").status_code == 200, SOON, "keys")


LOST_ROW_SAID = "has lost its row: run `orders replay`; if that says the same"


@pytest.mark.parametrize("command", ["status", "replay", "verify", "events", "audit", "mirror sqlite:///./a.db --once"])
def test_a_command_says_in_one_line_that_the_head_is_lost(command: str, database_url: str, run: Run) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute("DELETE FROM log.head")
    assert LOST_ROW_SAID in line_of(run(database_url, command))


def test_the_api_says_that_the_head_is_lost(database_url: str) -> None:
    with served(database_url) as shop:
        user = shop.post("/users", json=USER).json()["id"]
        sweep(database_url)
        with psycopg.connect(database_url, autocommit=True) as admin:
            admin.execute("DELETE FROM log.head")
        answer = shop.post("/users", json=USER)
        assert problem(answer) == (503, "unavailable")
        assert LOST_ROW_SAID in answer.json()["detail"]
        for path in ("/events", "/projections", f"/users/{user}/history", f"/users/{user}?version=1"):
            answer = shop.get(path)
            assert problem(answer) == (503, "unavailable"), path
            assert LOST_ROW_SAID in answer.json()["detail"]
        assert LOST_ROW_SAID in not_ready(shop)["database"]


def test_the_console_says_that_the_head_is_lost(database_url: str) -> None:
    settings = Settings(
        database_url=database_url, redis_url=NO_REDIS, allow_unsafe_database=True, no_auth=True, console=True
    )
    with served_with(settings) as shop:
        with psycopg.connect(database_url, autocommit=True) as admin:
            admin.execute("DELETE FROM log.head")
        answer = shop.get("/console/audit")
        assert answer.status_code == 503
        assert "has lost its row" in answer.text


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER DATABASE THIS SET default_transaction_read_only = on",
        "ALTER TABLE access.api_keys RENAME TO elsewhere",
        "ALTER TABLE access.api_keys_version RENAME TO elsewhere",
        "ALTER TABLE log.events RENAME COLUMN metadata TO elsewhere",
        "ALTER TABLE access.api_keys ADD CHECK (revoked_at IS NULL), ADD CHECK (name <> 'till')",
        "DELETE FROM log.head",
    ],
)
def test_a_change_of_the_keys_that_the_database_refuses_is_no_fault_of_the_service(
    statement: str, database_url: str
) -> None:
    with served(database_url) as shop, psycopg.connect(database_url, autocommit=True) as admin:
        made = shop.post("/keys", json={"name": "shop", "role": "staff"}).json()["id"]
        name = conninfo_to_dict(database_url)["dbname"]
        admin.execute(statement.replace("THIS", f'"{name}"').encode())
        for answer in (shop.delete(f"/keys/{made}"), shop.post("/keys", json={"name": "till", "role": "staff"})):
            assert problem(answer) == (503, "unavailable")


@pytest.mark.parametrize("projection", PROJECTIONS, ids=lambda it: it.name)
def test_a_replay_makes_each_dropped_read_table_anew_and_every_part_says_so(
    projection: Projection, database_url: str, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin, served(database_url) as shop:
        shop.post("/users", json=USER)
        for table in projection.metadata.tables:
            admin.execute(f"DROP TABLE {table} CASCADE".encode())
            caplog.clear()
            shop.post("/users", json=USER)
            sweep(database_url)
            logged = [it.getMessage() for it in caplog.records if it.levelname == "ERROR"]
            assert logged or not table.endswith("checkpoint")
            assert all("`orders replay` for a read table" in it for it in logged), logged
            assert "`orders replay`" in not_ready(shop)["database"]
            assert "`orders replay` for a read table" in line_of(run(database_url, f"verify {projection.name}"))
            done = run(database_url, f"replay {projection.name}")
            assert done.returncode == 0, done.stderr
            sweep(database_url)
            assert run(database_url, f"verify {projection.name}").returncode == 0
            assert "database" not in shop.get("/readyz").json()["not_ready"]


@pytest.mark.parametrize("column", ["version", "made", "position"])
def test_a_replay_makes_a_dropped_column_of_the_checkpoint_anew(column: str, database_url: str, run: Run) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(f"ALTER TABLE shop.checkpoint DROP COLUMN {column} CASCADE".encode())
    assert run(database_url, "replay").returncode == 0
    assert run(database_url, "verify").returncode == 0


def test_a_replay_makes_a_lost_checkpoint_anew(database_url: str, run: Run) -> None:
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute("DELETE FROM sales.checkpoint")
    assert LOST_ROW_SAID in line_of(run(database_url, "status"))
    assert run(database_url, "replay").returncode == 0
    assert run(database_url, "status").returncode == 0


def damage(database_url: str, relation: str) -> None:
    """Overwrite the first page of a table or an index on the disk, as a disk does that fails."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_buffercache")
        connection.execute("CHECKPOINT")
        query = "SELECT current_setting('data_directory') || '/' || pg_relation_filepath(%s)"
        ((path,),) = connection.execute(query, [relation]).fetchall()
        with Path(path).open("r+b") as file:
            file.write(b"\xff" * 8192)
        connection.execute("SELECT pg_buffercache_evict_relation(%s)", [relation])


def test_a_damaged_page_is_an_outage_with_a_remedy(database_url: str, run: Run) -> None:
    with served(database_url) as shop:
        order = shop.order()
        sweep(database_url)
        damage(database_url, "shop.orders")
        for path in (f"/orders/{order['id']}", "/orders"):
            assert problem(shop.get(path)) == (503, "unavailable")
        for command in ("verify shop", f"verify --stream order-{order['id']}"):
            assert "`orders replay` rebuilds read tables" in line_of(run(database_url, command))
        assert run(database_url, "replay shop").returncode == 0
        assert shop.get(f"/orders/{order['id']}").status_code == 200
        again = {"json": USER, "headers": {"Idempotency-Key": "once"}}
        assert shop.post("/users", **again).status_code == 201
        damage(database_url, "log.idempotency_keys")
        assert problem(shop.post("/users", **again)) == (503, "unavailable")
        damage(database_url, "log.events_pkey")
        assert "A page of the database is damaged" in not_ready(shop)["database"]
        damage(database_url, "log.events")
        for command in ("events", "replay", f"explain orders/{order['id']}", "doctor"):
            assert "restore a backup" in line_of(run(database_url, command))
