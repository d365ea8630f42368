"""Real servers: what they promise, and what is left after a crash."""

import contextlib
import io
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
import redis
import sqlalchemy

from service.embedded import PostgresServer, ValkeyServer, postgres_program
from service.embedded.account import account_for
from service.embedded.child import say_bare
from service.embedded.locks import is_held
from service.errors import OperatorError
from service.lifeline import tied

WAIT_SECONDS_MAX = 20

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes to another user")


def ask(server: PostgresServer, statement: str) -> object:
    with psycopg.connect(server.url) as connection:
        row = connection.execute(statement.encode()).fetchone()
        assert row is not None
        return row[0]


def runs(pid: int) -> bool:
    try:
        Path(f"/proc/{pid}/cwd").readlink()
    except OSError:  # gone, or a zombie that its parent has not asked about yet
        return False
    return True


def kill(server: PostgresServer | ValkeyServer) -> None:
    os.kill(server.pid, signal.SIGKILL)
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while server.is_alive():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while runs(pid):
        assert time.monotonic() < deadline, f"process {pid} still runs"
        time.sleep(0.02)


def test_postgres_is_durable_and_of_the_version_and_locale_that_production_has(place: Path) -> None:
    with PostgresServer(place) as server:
        for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
            assert ask(server, f"SHOW {setting}") == "on"
        assert str(ask(server, "SHOW server_version")).startswith("18.")
        assert ask(server, "SHOW server_encoding") == "UTF8"
        assert ask(server, "SELECT datcollate FROM pg_database WHERE datname = current_database()") == "C"
        assert ask(server, "SHOW timezone") == "UTC"
        assert ask(server, "SHOW listen_addresses") == ""


def test_the_url_works_for_psycopg_sqlalchemy_and_psql(place: Path) -> None:
    with PostgresServer(place) as server:
        assert ask(server, "SELECT current_database()") == "orders"
        engine = sqlalchemy.create_engine(server.url.replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect() as connection:
            assert connection.scalar(sqlalchemy.text("SELECT current_user")) == "orders"
        engine.dispose()
        psql = [str(postgres_program("psql")), "--no-psqlrc", "--tuples-only", "--no-align", server.url]
        done = subprocess.run([*psql, "--command", "SELECT 41 + 1"], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == "42"


def test_several_run_at_once_and_share_nothing(place: Path) -> None:
    with PostgresServer(place / "a") as one, PostgresServer(place / "b") as other:
        assert one.url != other.url
        assert ask(one, "SELECT system_identifier FROM pg_control_system()") != ask(
            other, "SELECT system_identifier FROM pg_control_system()"
        )
    with ValkeyServer(place / "a") as one_valkey, ValkeyServer(place / "b") as other_valkey:
        assert one_valkey.url != other_valkey.url


def test_a_test_may_change_settings_for_one_start(place: Path) -> None:
    with PostgresServer(place, settings={"fsync": "off", "max_connections": "20"}) as server:
        assert ask(server, "SHOW fsync") == "off"
        assert ask(server, "SHOW max_connections") == "20"


def test_data_and_url_stay_over_a_stop_a_kill_and_a_start(place: Path) -> None:
    server = PostgresServer(place)
    url = server.start()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS x")
    server.stop()
    assert server.start() == url
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE kept SET x = 8")
    kill(server)
    assert server.start() == url
    assert ask(server, "SELECT x FROM kept") == 8
    server.stop()
    server.stop()  # stopping twice is stopping once


@pytest.mark.parametrize("name", ["long" * 30, "with, comma"])
def test_a_path_that_no_socket_can_have_gets_a_socket_elsewhere(place: Path, name: str) -> None:
    with PostgresServer(place / name) as server:
        assert ask(server, "SELECT 1") == 1
        elsewhere = server.socket_dir
        assert elsewhere.stat().st_mode & 0o077 == 0
    assert not elsewhere.exists()


def test_a_directory_that_another_uses_is_refused_in_one_line(place: Path) -> None:
    with PostgresServer(place) as server:
        with pytest.raises(OperatorError, match=f"in use by another .*process {os.getpid()}") as refusal:
            PostgresServer(place).start()
        assert "\n" not in str(refusal.value)
        assert ask(server, "SELECT 1") == 1


def test_servers_stop_cleanly_when_their_supervisor_is_killed(place: Path) -> None:
    script = (
        "import sys, time, pathlib\n"
        "from service.embedded import PostgresServer, ValkeyServer\n"
        "a, b = (kind(pathlib.Path(sys.argv[1])) for kind in (PostgresServer, ValkeyServer))\n"
        "a.start(), b.start()\n"
        "print(a.pid, b.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(place)], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        pids = [int(pid) for pid in supervisor.stdout.readline().split()]
        assert len(pids) == 2
        supervisor.kill()
    for pid in pids:
        wait_until_gone(pid)
    with PostgresServer(place) as server:
        assert ask(server, "SELECT 1") == 1
    log = (place / "postgres.log").read_text()
    assert "not properly shut down" not in log


def test_a_server_left_behind_is_stopped_before_a_new_one_starts(place: Path) -> None:
    for kind in (PostgresServer, ValkeyServer):
        left_behind = kind(place)
        left_behind.start()
        old_pid = left_behind.pid
        left_behind._owner.release()  # what the kernel does when the owner is killed
        with kind(place) as server:
            assert server.pid != old_pid
            assert not runs(old_pid)
        left_behind.stop()


def test_a_pid_file_whose_number_now_belongs_to_another_process_does_not_keep_postgres_from_starting(
    place: Path,
) -> None:
    server = PostgresServer(place)
    server.start()
    pid_file = server.directory / "postmaster.pid"
    content = pid_file.read_text()
    server.stop()
    user = account_for(server.directory).user
    with subprocess.Popen(tied(["/bin/sleep", "60"], signal.SIGKILL, user), cwd="/") as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *content.splitlines()[1:]]) + "\n")
        with server:
            assert ask(server, "SELECT 1") == 1
        assert stranger.poll() is None
        stranger.kill()


def test_data_of_another_major_version_is_refused_in_one_line_with_both_versions(place: Path) -> None:
    with PostgresServer(place) as server:
        directory = server.directory
    (directory / "PG_VERSION").write_text("17\n")
    with pytest.raises(OperatorError) as refused:
        PostgresServer(place).start()
    said = str(refused.value)
    assert "data of PostgreSQL 17, but `orders up` runs PostgreSQL 18" in said
    assert "\n" not in said


def test_a_folder_of_other_files_in_place_of_a_cluster_is_refused_with_a_remedy(place: Path) -> None:
    (place / "postgres").mkdir()
    (place / "postgres" / "notes.txt").touch()
    with pytest.raises(OperatorError, match=r"holds no data of PostgreSQL .* or name another --data-dir"):
        PostgresServer(place).start()
    assert (place / "postgres" / "notes.txt").exists()
    (place / "postgres" / "PG_VERSION").touch()
    with pytest.raises(OperatorError, match=r"PG_VERSION is missing or empty"):
        PostgresServer(place).start()


def test_a_cluster_that_was_half_made_is_made_again(place: Path) -> None:
    (place / "postgres.unfinished").mkdir()
    (place / "postgres.unfinished" / "PG_VERSION").write_text("18\n")
    with PostgresServer(place) as server:
        assert ask(server, "SELECT 1") == 1
    assert not (place / "postgres.unfinished").exists()


@pytest.mark.parametrize("kind", [PostgresServer, ValkeyServer])
def test_a_directory_that_cannot_be_used_is_said_in_one_line(
    unwritable: Path, place: Path, kind: type[PostgresServer | ValkeyServer]
) -> None:
    (place / "file").write_text("")
    for bad in (unwritable / "data", place / "file" / "data"):
        with pytest.raises(OperatorError, match="cannot use") as refusal:
            kind(bad).start()
        assert "\n" not in str(refusal.value)


def test_a_server_that_does_not_start_says_why_and_leaves_nothing_behind(place: Path) -> None:
    with pytest.raises(OperatorError, match=r'did not start: .*"shared_buffers"'):
        PostgresServer(place, settings={"shared_buffers": "a lot"}).start()
    assert not is_held(place / "locks" / "postgres.owner")
    assert not is_held(place / "locks" / "postgres.running")


def test_data_that_was_copied_without_its_mode_is_refused_with_the_right_one(place: Path) -> None:
    with PostgresServer(place) as server:
        data = server.data_dir
    (data / "postgres").chmod(0o755)
    with pytest.raises(OperatorError, match=r"invalid permissions: .*Permissions should be u=rwx \(0700\)"):
        PostgresServer(place).start()


@needs_root
def test_as_root_a_closed_parent_is_opened_for_passing_through_and_no_more(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0o700)
    with PostgresServer(closed / "data") as server:
        assert Path(f"/proc/{server.pid}").stat().st_uid != 0
    assert closed.stat().st_mode & 0o777 == 0o701
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f"opened {closed} for passing through" in said


@needs_root
def test_as_root_the_data_stays_with_its_owner(place: Path) -> None:
    owned = place / "data"
    owned.mkdir()
    (owned / "postgres").mkdir(mode=0o700)
    os.chown(owned / "postgres", 1, 1)
    assert account_for(owned / "postgres").uid == 1


def test_writes_that_valkey_acknowledged_survive_a_kill(place: Path) -> None:
    with ValkeyServer(place) as server:
        url = server.url
        with redis.Redis.from_url(url) as client:
            assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
            client.set("bell", "rung")
            client.execute_command("WAITAOF", 1, 0, 5_000)
        kill(server)
        assert server.start() == url
        with redis.Redis.from_url(url) as client:
            assert client.get("bell") == b"rung"


def test_lines_of_two_children_do_not_mix() -> None:
    lines, interval = ["api    | " + "a" * 20, "worker | " + "b" * 20], sys.getswitchinterval()
    sys.setswitchinterval(0.000_001)  # the two threads take turns often
    try:
        with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())) as printed, ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda line: [say_bare(line) for _ in range(20_000)], lines))
    finally:
        sys.setswitchinterval(interval)
    printed.seek(0)
    assert Counter(printed.read().splitlines()) == dict.fromkeys(lines, 20_000)
