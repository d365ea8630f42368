"""`orders jobs`, `orders keys list` and `orders keys link`: what they print."""

import json
import re
from pathlib import Path

import psycopg

from access.keys import digest
from projector.jobs import table
from service.cli import connect
from service.embedded.locks import Lock
from tests.projecting import sweep
from tests.served import NO_REDIS
from tests.service.cli.conftest import Run, one_line


def test_a_job_is_listed_with_its_actor_reason_and_result(run: Run, database_url: str) -> None:
    assert run("jobs").stdout == "no job was asked for: orders jobs start replay shop\n"
    started = run("jobs", "start", "verify", "shop", "--reason", "a wrong total")
    id_ = started.stdout.strip()
    assert (started.returncode, len(id_)) == (0, 36)
    with psycopg.connect(database_url) as connection:
        table.finish(connection, id_, {"said": "1 difference", "is_well": False, "differences": []})
    refused = run("jobs", "start", "verify", "shop", "--reason", "a" * 1_001)
    assert "--reason has more than 1,000 characters" in one_line(refused, 2)
    head, row = run("jobs").stdout.splitlines()
    assert head.split() == ["job", "what", "state", "asked", "by", "reason", "result"]
    assert re.split(r"  +", row)[:3] == [id_, "Verify shop", "done"]
    assert row.rstrip().endswith("a wrong total  1 difference")
    ((shown,),) = [json.loads(run("jobs", "--json").stdout).values()]
    assert [(it["id"], it["kind"], it["reason"]) for it in shown] == [(id_, "verify", "a wrong total")]


def test_waiting_for_a_job_that_found_differences_ends_with_1(run: Run, database_url: str) -> None:
    id_ = run("jobs", "start", "verify", "shop").stdout.strip()
    with psycopg.connect(database_url) as connection:
        table.finish(connection, id_, {"said": "1 difference", "is_well": False, "differences": []})
    waited = run("jobs", "wait", id_)
    assert (waited.returncode, waited.stdout) == (1, "done: 1 difference\n")


def test_a_job_that_no_worker_will_do_says_so_at_once(run: Run, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE shop.checkpoint SET seen_at = now() - interval '1 min', worker = 'shop-7:123'")
    started = run("jobs", "start", "verify", "shop")
    warning = r"no worker has looked at the log for 6\d s; the last was shop-7:123; the job waits .*: orders work\n"
    assert re.fullmatch(warning, started.stderr)
    assert len(started.stdout.strip()) == 36
    sweep(database_url)
    assert run("jobs", "start", "verify", "shop", "--reason", "again").stderr == ""


def test_a_job_that_does_not_exist_is_one_line(run: Run) -> None:
    assert "'sweep' is not one of 'replay', 'verify', 'retry'" in one_line(run("jobs", "start", "sweep", "shop"), 2)
    assert "Input should be a valid UUID" in one_line(run("jobs", "wait", "x"), 2)


def test_the_list_of_keys_ends_with_the_newest_and_says_that_there_are_older_ones(run: Run, database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO access.api_keys (id, account, name, sha256, role, scopes, created_by, created_at) "
            "SELECT n, n, 'visit', sha256(n::text::bytea), 'operator', '{}', 'a link', now() + n * interval '1 second' "
            "FROM generate_series(1, 1500) AS n"
        )
    shown = json.loads(run("keys", "list", "--json", "--limit", "1500").stdout)["data"]
    assert [it["id"] for it in shown] == [str(number) for number in range(1, 1_501)]
    done = run("keys", "list")
    assert done.stderr == "there are older keys: --limit shows more, GET /keys shows all\n"
    assert [row.split()[0] for row in done.stdout.splitlines()[1:]] == [str(number) for number in range(501, 1_501)]
    assert run("keys", "list", "--limit", "1500").stderr == ""


def test_a_link_leads_to_the_console_of_the_orders_up_that_runs(run: Run, database_url: str, tmp_path: Path) -> None:
    assert "no `orders up` runs on data" in one_line(run("keys", "link"), 1)
    data_dir, url = tmp_path / "data", "http://127.0.0.1:8123"
    lock = Lock(data_dir / "locks" / "postgres.owner")
    assert lock.acquire()
    try:
        connect.announce(data_dir, database_url=database_url, redis_url=NO_REDIS, api_url=url)
        done = run("keys", "link")
    finally:
        lock.release()
    assert done.stderr.startswith("Open this link in a browser within 10 minutes. It works once")
    found = re.fullmatch(re.escape(f"{url}/console/sign-in?token=") + r"([\w-]{40,})\n", done.stdout)
    assert found
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT sha256 FROM access.sign_in_links").fetchall() == [(digest(found[1]),)]
