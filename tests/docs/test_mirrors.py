"""The report of docs/mirrors.md prints the same on every database, run as its reader would."""

import os
import subprocess
import sys
from pathlib import Path

from bench.mariadb import MysqlServer
from projector.projections.sales import SALES
from tests.builders import Writing
from tests.docs.walking import ROOT, blocks
from tests.projecting import sweep
from tests.projector.mirror.mirroring import catch_up


def printed(script: str, url: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", script, url], cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_report_prints_the_same_on_every_database(
    database_url: str, empty_database_url: str, mariadb: MysqlServer, tmp_path: Path
) -> None:
    ((_, script),) = blocks((ROOT / "docs/mirrors.md").read_text(), "py")
    with Writing(database_url) as writing:
        writing.history()
    sweep(database_url)
    mysql_url, sqlite_url = mariadb.database("report"), f"sqlite:///{tmp_path / 'app.db'}"
    for url in (mysql_url, sqlite_url, empty_database_url):
        catch_up(database_url, url, [SALES])
    wanted = printed(script, database_url.replace("postgresql:", "postgresql+psycopg:", 1))
    assert len(wanted.splitlines()) > 3
    assert printed(script, empty_database_url.replace("postgresql:", "postgresql+psycopg:", 1)) == wanted
    assert printed(script, sqlite_url) == wanted
    assert printed(script, mysql_url.replace("mysql:", "mysql+pymysql:", 1)) == wanted
