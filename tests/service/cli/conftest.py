import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from projector.follower import Follower
from projector.projections.shop import SHOP
from service.cli import main
from tests.builders import Writing

Run = Callable[..., subprocess.CompletedProcess[str]]

OURS = ("DATABASE_URL", "REDIS_URL", "DATA_DIR")


@pytest.fixture
def run(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """An `orders` command on this test's database, from the command line to the exit code, but in this process."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch:
            for name in OURS:
                patch.delenv(name, raising=False)
            for name, value in ({"DATABASE_URL": database_url} | variables).items():
                patch.setenv(name, value)
            patch.chdir(tmp_path)
            patch.setattr(sys, "argv", ["orders", *arguments])
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        said = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), said.out, said.err)

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
    projector = Follower(database_url, SHOP)
    projector.sweep()
    projector.close()


def one_line(done: subprocess.CompletedProcess[str], exit_code: int) -> str:
    """What a command said that could not do what it was asked."""
    assert done.returncode == exit_code, done.stderr
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("orders: ")
    return done.stderr
