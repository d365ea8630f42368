import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from projector.follower import Follower
from projector.projections.shop import SHOP
from tests.builders import Writing
from tests.command_line import run_here

Run = Callable[..., subprocess.CompletedProcess[str]]

OURS = ("DATABASE_URL", "REDIS_URL", "DATA_DIR")


@pytest.fixture
def run(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """An `orders` command on this test's database, from the command line to the exit code, but in this process."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return run_here(arguments, {"DATABASE_URL": database_url} | variables, monkeypatch, capsys, tmp_path)

    return run


@pytest.fixture
def shop(database_url: str) -> Iterator[Writing]:
    """A shop with some history, projected."""
    with Writing(database_url) as shop:
        shop.history(orders=10)
        project(database_url)
        yield shop


def project(database_url: str) -> None:
    """As a worker does."""
    with closing(Follower(database_url, SHOP)) as projector:
        projector.sweep()


def one_line(done: subprocess.CompletedProcess[str], exit_code: int) -> str:
    """What a command said that could not do what it was asked."""
    assert done.returncode == exit_code, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("orders: ")
    return done.stderr
