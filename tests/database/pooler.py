"""A real PgBouncer in front of a database, as a child process."""

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from tests.builders import wait_until
from tests.system.stack import free_port

# Debian keeps servers there, where a user's PATH does not lead.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])
SECONDS_MAX = 20


@contextmanager
def pooler(database_url: str, mode: str, place: Path, **settings: object) -> Iterator[str]:
    """Run PgBouncer in this mode; yields the URL of the database through it. Skips without the program."""
    program = shutil.which("pgbouncer", path=_PATH)
    if program is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no pgbouncer: install the package pgbouncer")
    given, port = conninfo_to_dict(database_url), free_port()
    target = " ".join(f"{it}={given[it]}" for it in ("host", "port", "user", "password", "dbname") if it in given)
    listening = {"listen_addr": "127.0.0.1", "listen_port": port, "unix_socket_dir": "", "auth_type": "any"}
    lines = [f"{name} = {value}" for name, value in (listening | {"pool_mode": mode} | settings).items()]
    file, log = place / f"{port}.ini", place / f"{port}.log"
    file.write_text("\n".join(["[databases]", f"shop = {target}", "[pgbouncer]", *lines, ""]))
    # It refuses to run as root, and the tests' PostgreSQL admits its own user alone.
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    with file.open() as configuration, log.open("wb") as output:
        process = subprocess.Popen(
            [program, f"/dev/fd/{configuration.fileno()}"],
            pass_fds=[configuration.fileno()],
            stdout=output,
            stderr=output,
            user=user and user.pw_uid,
            group=user and user.pw_gid,
            extra_groups=user and [],
        )
    try:
        wait_until(lambda: process.poll() is not None or _listens(port), SECONDS_MAX, "pgbouncer")
        assert process.poll() is None, log.read_text()
        yield f"postgresql://127.0.0.1:{port}/shop?user={given.get('user', '')}"
    finally:
        process.terminate()  # at once: SIGINT would wait for the clients
        process.wait(SECONDS_MAX)


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0
