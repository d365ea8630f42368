import gzip
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from command.importing.rejects import Rejects
from service import import_runs
from tests.builders import wait_until

USER = '{"id": "ada"}'


@pytest.fixture
def orders(run, database_url):
    """Runs `orders import` with these arguments."""

    def orders(*arguments, url=database_url):
        return run("import", *map(str, arguments), DATABASE_URL=url)

    return orders


@pytest.fixture
def users(tmp_path):
    path = tmp_path / "users.jsonl"
    path.write_text(f"{USER}\n{{broken\n")
    return path


def test_an_import_prints_the_outcome_of_its_rows_and_the_rate(orders, users, tmp_path):
    done = orders(users)
    assert done.returncode == 0
    first, second, third, fourth = done.stdout.splitlines()
    assert first == "accepted 1, already there 0, refused 1, total 2"
    assert second.startswith("1 events in ")
    assert second.endswith(" events/s")
    assert third == "refused, see rejects.jsonl: malformed-json 1"
    assert fourth.startswith("to repair: correct the rows in their files and import these again; ")
    assert done.stderr == ""
    (reject,) = (tmp_path / "rejects.jsonl").read_text().splitlines()
    assert list(json.loads(reject)) == ["file", "line", "code", "detail", "row"]


def test_the_files_of_a_folder_that_are_left_out_are_named(orders, users, tmp_path):
    for name in ("customers.csv", "rejects.jsonl", "notes.txt"):
        (tmp_path / name).touch()
    done = orders(tmp_path)
    assert done.stderr == f"orders: {tmp_path}: left out, unless you name them: customers.csv\n"
    assert orders("users.jsonl").stderr == ""
    parts = ["orders-2.csv.zip", "orders-3.ndjson", "orders-4.txt"]
    for name in parts:
        (tmp_path / name).touch()
    (tmp_path / "orders-10").mkdir()
    assert orders(tmp_path).stderr.endswith(
        f"end in none of .jsonl, .jsonl.gz, .csv, .csv.gz: orders-10, {', '.join(parts)}\n"
    )


def test_parts_that_were_cut_in_the_middle_of_an_order_are_refused_before_anything_is_imported(
    orders, tmp_path, database_url
):
    head, row = "order,at,customer,sku,quantity,unit_price\n", "T1,2024-03-01T08:00:00Z,ada,{},1,1\n"
    (tmp_path / "users.csv").write_text("id,name\nada,Ada\n")
    for number, sku in enumerate(["tea", "milk"], 1):
        (tmp_path / f"orders-{number}.csv").write_text(head + row.format(sku))
    done = orders(tmp_path)
    assert done.returncode == 2
    assert "orders-2.csv cannot be read: order 'T1' goes on in row 2" in done.stderr
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT position FROM log.head").fetchall() == [(0,)]


def test_the_summary_as_json(orders, users, tmp_path):
    done = orders(users, "--json", "--rejects", tmp_path / "no.jsonl")
    report = json.loads(done.stdout)
    assert {name: report[name] for name in ("accepted", "already_there", "refused", "total", "refused_by_code")} == {
        "accepted": 1,
        "already_there": 0,
        "refused": 1,
        "total": 2,
        "refused_by_code": {"malformed-json": 1},
    }
    assert (tmp_path / "no.jsonl").exists()
    assert not (tmp_path / "rejects.jsonl").exists()


def test_strict_ends_with_1_if_a_row_was_refused(orders, users):
    assert orders(users, "--strict").returncode == 1
    users.write_text(USER)
    done = orders(users, "--strict")
    assert done.returncode == 0
    assert done.stdout.startswith("accepted 0, already there 1, refused 0, total 1\n")


def test_a_file_that_ends_too_early_was_not_read_to_its_end(orders, tmp_path):
    (tmp_path / "users.jsonl.gz").write_bytes(gzip.compress(f"{USER}\n".encode() * 1_000)[:-12])
    done = orders(tmp_path)
    assert done.returncode == 1
    assert "damaged-file 1" in done.stdout
    assert done.stderr.count("\n") == 1
    assert "users.jsonl.gz could not be read to its end" in done.stderr


@pytest.mark.parametrize("damage", ["cut off", "changed"])
def test_a_damaged_csv_file_was_not_read_to_its_end(orders, tmp_path, damage):
    packed = bytearray(gzip.compress("".join(f"u{number},{number**7}\n" for number in range(9_999)).encode()))
    packed[200:210] = b"\xff" * 10
    (tmp_path / "users.csv.gz").write_bytes(packed[:5] if damage == "cut off" else packed)
    done = orders(tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "users.csv.gz could not be read to its end" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "exit_code", "says"),
    [
        (["nothing"], 2, "there is no file or folder nothing"),
        (["pipe"], 2, "pipe is a pipe or a device: write its content to a file, and import that"),
        (["links"], 2, "links/users.csv is no file that can be read: mend its link, or move it elsewhere"),
        (["."], 2, "has no users*, products*, commands* or orders* files"),
        (["array.jsonl"], 2, "array.jsonl is one JSON array"),
        (["picture.png"], 2, "picture.png is not text"),
        (["prose.txt"], 2, "prose.txt has no JSON objects"),
        (["--template", "shops"], 2, "there is no template shops; there are users, products, orders"),
        (["rows.jsonl", "--currency", "gbp"], 2, "--currency gbp is no ISO 4217 code"),
        (["rows.jsonl", "--rejects", "rows.jsonl"], 2, "rows.jsonl is imported itself"),
        (["rows.jsonl", "--rejects", "nowhere/rejects.jsonl"], 1, "cannot write nowhere/rejects.jsonl"),
    ],
)
def test_errors_that_an_operator_causes_are_one_line(orders, tmp_path, arguments, exit_code, says):
    (tmp_path / "rows.jsonl").write_text(USER)
    (tmp_path / "array.jsonl").write_text(f"[{USER}]")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "links").mkdir()
    (tmp_path / "links/users.csv").symlink_to("nowhere")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    (tmp_path / "prose.txt").write_text("Dear Ada,\n\n{later}\n".replace("{later}", "yours"))
    done = orders(*arguments)
    assert done.returncode == exit_code
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
    assert (tmp_path / "rows.jsonl").read_text() == USER


def test_ctrl_c_says_how_far_it_came_and_the_same_command_goes_on(orders, database_url, tmp_path):
    path = tmp_path / "users.jsonl"
    path.write_text("".join(f'{{"id": "user-{number}"}}\n' for number in range(100_000)))
    environment = os.environ | {"DATABASE_URL": database_url, "PYTHONPATH": str(Path.cwd())}
    command = [sys.executable, "-m", "service.cli", "import", str(path)]
    with (
        subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process,
        psycopg.connect(database_url, autocommit=True) as connection,
    ):
        count = "SELECT position FROM log.head"
        wait_until(lambda: connection.execute(count).fetchone() > (1_000,), 30, "a thousand rows are in")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        ((events,),) = connection.execute(count).fetchall()
        assert connection.execute("SELECT error FROM operations.imports").fetchall() == [("interrupted",)]
    assert process.returncode == 130
    assert said.count("\n") == 1
    rows = int(said.removeprefix("orders: interrupted after ").partition(" ")[0].replace(",", ""))
    assert 0 < rows <= events
    path.write_text("".join(path.read_text().splitlines(keepends=True)[: events + 10]))
    assert orders(path).stdout.startswith(f"accepted 10, already there {events}, ")


def test_an_order_that_is_there_and_differs_is_named(orders, tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/users.csv").write_text("id\nada\n")
    (tmp_path / "shop/products.csv").write_text("sku,description,unit_price,kind\ntea,Tea,1,fee\n")
    header = "order,at,customer,sku,quantity,unit_price\n"
    path = tmp_path / "shop/orders-1.csv"
    path.write_text(f"{header}T1,2024-02-01T08:26:00Z,ada,tea,1,1\n")
    assert orders("shop", "--currency", "EUR").stdout.startswith("accepted 3, ")
    again = orders(path, "--currency", "EUR", "--strict")
    assert (again.returncode, again.stderr) == (0, "")
    path.write_text(f"{header}T1,2024-02-01T08:26:00Z,ada,tea,2,1\n")
    done = orders(path, "--currency", "EUR", "--strict")
    assert done.returncode == 1
    assert done.stderr.startswith("orders: 1 not imported, with a number that is there with another content")


def test_no_database_and_no_tables_are_one_line(orders, users, empty_database_url):
    for url in ("postgresql://nobody@127.0.0.1:1/nothing", empty_database_url):
        done = orders(users, url=url)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("orders: ")


def test_help_has_an_example(orders):
    assert "orders import shop/ --currency GBP" in orders("--help").stdout


def test_a_template_is_printed_without_a_database(orders):
    done = orders("--template", "orders")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "order,at,customer,sku,quantity,unit_price"


def test_a_run_is_recorded_with_its_counts_and_first_rejects(orders, users, database_url):
    orders(users)
    with psycopg.connect(database_url) as connection:
        (row,) = connection.execute(
            "SELECT path, accepted, already_there, refused, first_rejects, error, finished_at IS NOT NULL "
            "FROM operations.imports"
        ).fetchall()
    path, accepted, already_there, refused, rejects, error, is_finished = row
    assert (path, accepted, already_there, refused) == (str(users), 1, 0, {"malformed-json": 1})
    assert [(it["line"], it["code"]) for it in rejects] == [(2, "malformed-json")]
    assert "row" not in rejects[0]
    assert (error, is_finished) == (None, True)


def test_imports_are_listed_with_the_rows_that_the_newest_one_refused(run, orders, users, database_url, tmp_path):
    empty = run("imports", DATABASE_URL=database_url)
    assert empty.stdout == "nothing was imported yet: orders import FOLDER\n"
    more = tmp_path / "more.jsonl"
    more.write_text("{broken\n[]\n")
    orders(users)
    orders(more)
    head, newer, older, _, _, *rejects = run("imports", DATABASE_URL=database_url).stdout.splitlines()
    assert head.split()[-1] == "refused"
    assert [str(more), "ended", "0", "0", "malformed-json", "1,", "validation-error", "1"] == newer.split()[2:]
    assert [str(users), "ended", "1", "0", "malformed-json", "1"] == older.split()[2:]
    assert [it.split()[1:3] for it in rejects] == [["1", "malformed-json"], ["2", "validation-error"]]
    (told, _) = json.loads(run("imports", "--json", DATABASE_URL=database_url).stdout)["data"]
    assert (told["path"], told["state"], told["refused"]) == (
        str(more),
        "ended",
        {"malformed-json": 1, "validation-error": 1},
    )


def test_a_run_of_very_many_files_names_the_first_of_them(run, orders, database_url, tmp_path):
    for number in range(1, 1_001):
        (tmp_path / f"users-{number}.jsonl").write_text(f'{{"id": "{number}"}}\n')
    assert orders(tmp_path).returncode == 0
    said = run("imports", DATABASE_URL=database_url).stdout
    assert "(users-1.jsonl, users-2.jsonl, " in said
    assert " and 990 more)" in said
    assert max(map(len, said.splitlines())) < 500


def test_a_run_shows_how_far_it_is_before_its_end(users, tmp_path, database_url):
    def row():
        with psycopg.connect(database_url) as connection:
            select = "SELECT accepted, bytes_read, bytes_total, finished_at IS NOT NULL, error FROM operations.imports"
            return connection.execute(select).fetchone()

    bytes_read = 7
    with import_runs.recorded(database_url, [users], Rejects(tmp_path / "no"), lambda: bytes_read) as summary:
        summary.accepted = 3
        wait_until(lambda: row() == (3, 7, users.stat().st_size, False, None), 30, "the progress")
        summary.accepted, bytes_read = 4, 9
    assert row() == (4, 9, users.stat().st_size, True, None)
