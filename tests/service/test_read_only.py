"""A container: a user without a home, on file systems that are only read, but for one folder."""

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from eventlog.events import UserRegistered
from tests.builders import append_events, new_event
from tests.served import NO_REDIS
from tests.system.stack import SURROUNDINGS, free_port

SHOP = Path(__file__).parents[1] / "fixtures" / "shop"
IN_TMPDIR = "name a folder that this user may write in TMPDIR\n"
# The folder is a mount of its own, which stays as it is.
ONLY_READ = """
mount --bind "$FOLDER" "$FOLDER"
for it in /tmp /var/tmp /usr; do mount --rbind $it $it && mount -o remount,bind,ro $it; done
cd /usr && exec "$@"
"""


def run(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    container = ["unshare", "-m" if os.geteuid() == 0 else "-rm", "bash", "-ec", ONLY_READ, "_"]
    # So Python finds no home directory, as for a user id that no user has.
    surroundings = SURROUNDINGS | {"HOME": "~", "FOLDER": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [*container, sys.executable, "-P", "-m", "service.cli", *command.split()],
        env=surroundings | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def shop(database_url: str, tmp_path: Path) -> str:
    if (tried := run("--version", tmp_path)).returncode:
        pytest.skip(f"no namespaces here: {tried.stderr}")
    # So many, and in such an order, that SQLite needs temporary files.
    streams = [f"user-{uuid4()}" for _ in range(3_000)]
    user = UserRegistered("N" * 200, "ada@example.org", "ada@example.org", None)
    append_events(database_url, [new_event(it, 1, user) for it in streams])
    return database_url


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("mirror --once sqlite:///FOLDER/app.db", IN_TMPDIR),
        ("mirror --verify sqlite:///FOLDER/app.db", IN_TMPDIR),
        ("serve --port PORT --processes 2", IN_TMPDIR),
        (f"import {SHOP} --currency EUR", "cannot write rejects.jsonl: Read-only file system; name another file with"),
    ],
)
def test_a_command_says_which_folder_it_needs(command: str, says: str, shop: str, tmp_path: Path) -> None:
    command = command.replace("FOLDER", str(tmp_path)).replace("PORT", str(free_port()))
    urls = {"DATABASE_URL": shop, "REDIS_URL": NO_REDIS}
    done = run(command, tmp_path, ALLOW_UNSAFE_DATABASE="1", LOG_LEVEL="error", **urls)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert says in done.stderr


def test_one_folder_is_enough(shop: str, tmp_path: Path) -> None:
    mirror = f"sqlite:///{tmp_path}/app.db"
    for command in (
        f"import {SHOP} --currency EUR --rejects {tmp_path}/rejects.jsonl",
        "replay",
        "verify",
        f"mirror --once {mirror}",
        f"mirror --rebuild {mirror}",
        f"mirror --verify {mirror}",
    ):
        done = run(command, tmp_path, DATABASE_URL=shop, TMPDIR=str(tmp_path))
        assert done.returncode == 0, done.stderr
