import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from eventlog.events import UserDeleted
from projector.projections.sales import SALES
from projector.projections.shop import SHOP
from projector.shadow import only_one
from projector.verify import DIFFERENCES_MAX
from service.cli.output import DIFFERENCES_SHOWN_MAX
from tests.builders import Writing, append_events, new_event, wait_until
from tests.service.cli.conftest import Run, one_line

SOON = 30


def execute(database_url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def schemas(database_url: str) -> set[object]:
    return {name for (name,) in execute(database_url, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'shop%'")}


def test_replay_prints_a_summary(run: Run, shop: Writing, database_url: str) -> None:
    ((head,),) = execute(database_url, "SELECT position FROM log.head")
    done = run("replay")
    assert done.returncode == 0, done.stderr
    assert sorted(rebuilt(done.stdout)) == ["activity", "sales", "shop"]
    for line in done.stdout.splitlines():
        assert f" from {head} events in " in line
    assert done.stderr == "", "no progress bar where the output is no terminal"
    assert run("replay", "sales", "shop").stdout.count("rebuilt") == 2


def test_several_projections_are_rebuilt_at_the_same_time(run: Run, shop: Writing, database_url: str) -> None:
    ((head,),) = execute(database_url, "SELECT position FROM log.head")
    before = execute(database_url, "SELECT oid FROM pg_namespace WHERE nspname IN ('shop', 'sales', 'activity')")
    done = run("replay", "--processes", "3")
    assert done.returncode == 0, done.stderr
    told = sorted(line.partition(" events in ")[0] for line in done.stdout.splitlines())
    assert told == [f"rebuilt {name} from {head}" for name in ("activity", "sales", "shop")]
    after = execute(database_url, "SELECT oid FROM pg_namespace WHERE nspname IN ('shop', 'sales', 'activity')")
    assert set(before).isdisjoint(after)
    assert run("verify").returncode == 0


def test_the_failure_of_one_of_several_is_printed_in_one_line(run: Run, shop: Writing, database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection, only_one(connection, SALES):
        done = run("replay", "--processes", "2", "sales", "shop")
    assert done.returncode == 1
    (told,) = done.stderr.splitlines()
    assert "another replay or verify of sales is running" in told
    assert rebuilt(done.stdout) == ["shop"], "it was under way, so it is finished and told"


def test_after_a_failure_no_other_of_several_is_begun(run: Run, shop: Writing, database_url: str) -> None:
    before = execute(database_url, "SELECT oid FROM pg_namespace WHERE nspname = 'activity'")
    with (
        psycopg.connect(database_url, autocommit=True) as connection,
        only_one(connection, SALES),
        only_one(connection, SHOP),
    ):
        told = one_line(run("replay", "--processes", "2"), 1)
    assert "another replay or verify of " in told
    assert execute(database_url, "SELECT oid FROM pg_namespace WHERE nspname = 'activity'") == before


def rebuilt(said: str) -> list[str]:
    """The projections that `orders replay` has told as rebuilt, in its order. Fails if it has said anything else."""
    told = [re.fullmatch(r"rebuilt (\w+) from [\d,]+ events in .+ events/s\)", line) for line in said.splitlines()]
    assert None not in told, said
    return [line[1] for line in told if line]


@pytest.mark.parametrize("name", ["users", "order_items", "nonsense"])
def test_a_projection_that_there_is_not_is_refused(run: Run, name: str) -> None:
    told = one_line(run("replay", name), 2)
    assert f"no projection {name!r}" in told
    assert "there are: shop, sales, activity" in told


def test_verify_says_so_when_all_is_right(run: Run, shop: Writing) -> None:
    done = run("verify")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("no difference between tables and log, at position ") == 3
    assert "orders 10" in done.stdout
    document = json.loads(run("verify", "--json").stdout)
    assert document["equal"] is True
    assert document["projections"][0]["rows"]["orders"] == 10
    assert [it["differences"] for it in document["projections"]] == [[], [], []]
    assert run("verify", "sales").stdout.startswith("sales: no difference")


def test_verify_names_each_difference_and_ends_with_1(run: Run, shop: Writing, database_url: str) -> None:
    ((order, total),) = execute(database_url, "SELECT id, total::text FROM shop.orders ORDER BY id LIMIT 1")
    execute(database_url, f"UPDATE shop.orders SET total = 999 WHERE id = '{order}'")
    execute(database_url, "UPDATE shop.products SET name = E'\\x1b[31m\\n' WHERE sku IS NOT NULL AND stock IS NULL")
    done = run("verify")
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if str(order) in line]
    assert line.split() == ["orders", str(order), "total", "999", str(total)]
    assert "\x1b" not in done.stdout
    assert "shop: 2 differences between tables and log" in done.stdout
    assert "orders replay shop" in done.stdout

    document = json.loads(run("verify", "--json").stdout)
    assert document["equal"] is False
    assert document["projections"][0]["differences"][-1] == {
        "table": "orders",
        "key": {"id": str(order)},
        "column": "total",
        "stands": 999,
        "should_be": total,
    }


def test_verify_shows_no_more_than_anybody_reads(run: Run, shop: Writing, database_url: str) -> None:
    for _ in range(DIFFERENCES_SHOWN_MAX):
        shop.user()
    execute(database_url, "UPDATE shop.checkpoint SET position = (SELECT position FROM log.head)")
    execute(database_url, "DELETE FROM shop.order_items")
    ((items,),) = execute(database_url, "SELECT count(*) FROM log.events WHERE type = 'OrderPlaced'")
    done = run("verify")
    assert done.returncode == 1
    shown = [line for line in done.stdout.splitlines() if line.startswith(("users ", "order_items "))]
    assert len(shown) == DIFFERENCES_SHOWN_MAX
    assert f"more: --json shows up to {DIFFERENCES_MAX:,}" in done.stdout
    differences = json.loads(run("verify", "--json").stdout)["projections"][0]["differences"]
    assert len(differences) >= DIFFERENCES_SHOWN_MAX + int(str(items))


@pytest.mark.parametrize("command", ["replay", "verify"])
def test_a_refusal_names_the_process_of_a_running_replay(run: Run, database_url: str, command: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection, only_one(connection, SHOP):
        told = one_line(run(command, "shop"), 1)
        assert f"another replay or verify of shop is running (PostgreSQL process {connection.info.backend_pid})" in told


@pytest.mark.parametrize("command", ["replay", "verify", "status", "events"])
def test_a_database_that_was_not_migrated_is_one_line(run: Run, empty_database_url: str, command: str) -> None:
    assert "orders migrate" in one_line(run(command, DATABASE_URL=empty_database_url), 1)
    assert schemas(empty_database_url) == set()


@pytest.mark.parametrize("command", ["replay", "verify", "status", "events"])
def test_a_database_that_is_not_there_is_one_line(run: Run, command: str) -> None:
    assert "check DATABASE_URL" in one_line(run(command, DATABASE_URL="postgresql://orders@127.0.0.1:1/orders"), 1)


def test_replay_and_verify_name_a_stream_that_they_cannot_project(run: Run, database_url: str) -> None:
    append_events(database_url, [new_event("user-x", 1, UserDeleted())._replace(type="UserTeleported")])
    replayed = run("replay").stdout
    assert "shop: 1 stream is parked at an event that cannot be projected: orders parked\n" in replayed
    told = run("verify", "shop")
    assert (told.returncode, "no difference" in told.stdout) == (0, True)
    assert "shop: 1 stream is parked, so rows lack their later events: orders parked\n" in told.stdout


def test_a_function_that_lacks_a_privilege_is_named_when_a_replay_or_verify_drops_tables(
    run: Run, database_url: str
) -> None:
    execute(
        database_url,
        """CREATE FUNCTION public.note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'permission denied for table drops' USING ERRCODE = 'insufficient_privilege'; END $$;
        CREATE EVENT TRIGGER note ON sql_drop EXECUTE FUNCTION public.note()""",
    )
    for command in ("replay", "verify"):
        assert "note() in the database failed: permission denied for table drops" in one_line(run(command, "shop"), 1)


def test_a_replay_fails_in_one_line_if_the_role_may_not_create_schemas(run: Run, database_url: str) -> None:
    name = f"reader_{database_url.rsplit('/', maxsplit=1)[-1].split('?', maxsplit=1)[0]}"
    execute(database_url, f'CREATE ROLE "{name}" LOGIN')
    execute(database_url, f'GRANT USAGE ON SCHEMA log, shop TO "{name}"')
    execute(database_url, f'GRANT SELECT ON ALL TABLES IN SCHEMA log, shop TO "{name}"')
    try:
        url = database_url.replace("orders@", f"{name}@", 1)
        assert "may create schemas" in one_line(run("verify", DATABASE_URL=url), 1)
    finally:
        execute(database_url, f'DROP OWNED BY "{name}"; DROP ROLE "{name}"')


@pytest.mark.parametrize(
    ("options", "done"),
    [
        (["--processes", "1"], []),
        (["--processes", "3"], ["activity", "sales"]),
        ([], ["activity", "sales"] if (os.cpu_count() or 1) > 1 else []),
    ],
    ids=["one process", "three processes", "a process for each processor"],
)
def test_ctrl_c_leaves_the_old_tables_serving_and_drops_the_new_ones(
    shop: Writing, database_url: str, tmp_path: Path, options: list[str], done: list[str]
) -> None:
    with psycopg.connect(database_url) as reader:
        # The swap of `shop` waits for this reader. In processes of their own the other two are finished meanwhile.
        reader.execute("SELECT FROM shop.checkpoint")
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "service.cli", "replay", *options],
            env={"PATH": os.defpath, "DATABASE_URL": database_url},
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in done]
        wait_until(lambda: "shop_next" in schemas(database_url), SOON, "the new tables")
        process.send_signal(signal.SIGINT)
        said, complained = process.communicate(timeout=SOON)
    assert sorted(rebuilt("".join(told))) == done
    told_at_last = one_line(subprocess.CompletedProcess([], process.returncode, said, complained), 130)
    assert "interrupted: the old read tables go on serving" in told_at_last
    assert schemas(database_url) == {"shop"}
    assert execute(database_url, "SELECT count(*) FROM shop.orders") == [(10,)]


def test_a_rebuild_whose_process_is_killed_says_so_in_one_line(
    shop: Writing, database_url: str, tmp_path: Path
) -> None:
    """As the kernel does when memory runs out."""
    with psycopg.connect(database_url) as reader:
        reader.execute("SELECT FROM shop.checkpoint")  # the swap waits for it
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "service.cli", "replay", "shop"],
            env={"PATH": os.defpath, "DATABASE_URL": database_url},
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        wait_until(lambda: "shop_next" in schemas(database_url), SOON, "the new tables")
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGKILL)
        said, complained = process.communicate(timeout=SOON)
    told = one_line(subprocess.CompletedProcess([], process.returncode, said, complained), 1)
    assert "the old read tables go on serving; free memory" in told
    assert execute(database_url, "SELECT count(*) FROM shop.orders") == [(10,)]


@pytest.mark.parametrize("logger", ["psycopg.transaction", "sqlalchemy.pool.impl.NullPool"])
def test_no_library_warns_of_closed_connections_beside_the_line_for_ctrl_c(logger: str) -> None:
    program = (
        "import contextlib, logging, sys\n"
        "from service.cli import main\n"
        "sys.argv = ['orders', '--help']\n"
        "with contextlib.suppress(SystemExit):\n"
        "    main()\n"
        f"logging.getLogger({logger!r}).error('error ignored in rollback')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == ""
