"""The command `orders`: its subcommands, and a run of it in the test's own process."""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from service.cli import main
from service.cli.commands import app

_OURS = ("DATABASE_URL", "REDIS_URL", "DATA_DIR")


def run_here(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    place: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run a command from the command line to the exit code, in this process and in the folder `place`.

    Of the environment the settings of `_OURS` are those of `environment` alone.
    """
    with monkeypatch.context() as patch:
        for name in _OURS:
            patch.delenv(name, raising=False)
        for name, value in environment.items():
            patch.setenv(name, value)
        if place is not None:
            patch.chdir(place)
        patch.setattr(sys, "argv", ["orders", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
    said = capsys.readouterr()
    return subprocess.CompletedProcess(arguments, int(ended.value.code or 0), said.out, said.err)


def subcommands() -> dict[str, Any]:
    """Every subcommand by its name, with its parameters and, if it is a group, its own `commands`."""
    group: Any = get_command(app)
    context = group.make_context("orders", [], resilient_parsing=True)
    return {name: group.resolve_command(context, [name])[1] for name in group.list_commands(context)}
