"""Ctrl-C ends every command without a traceback, also while it starts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.system.stack import free_port

ROOT = Path(__file__).parents[2]
# From the moment at which the entry point is loaded: before, no code of ours runs.
DELAYS = [0.01, 0.03, 0.05, 0.08, 0.1, 0.15, 0.2, 0.3, 0.5, 0.8, 1.2, 1.6]
END_SECONDS_MAX = 30
STARTING = "from orders import main; print(flush=True); main()"
# On a busy machine the signal comes before the entry point is called.
TOO_EARLY = 'Traceback (most recent call last):\n  File "<string>", line 1, in <module>\nKeyboardInterrupt\n'
COMMANDS = [
    "serve --port PORT",
    "serve --port PORT --processes 2",
    "work",
    "migrate",
    "replay",
    "replay --processes 2",
    "verify",
    "doctor",
    "status",
    "status --watch",
    "events",
    "events --follow",
    "audit",
    "imports",
    "parked",
    "jobs",
    "keys list",
    "mirror sqlite:///app.db",
    "mirror --once sqlite:///once.db",
    f"import {ROOT}/tests/fixtures/shop --currency EUR",
    "explain order-01a203bc-773b-728e-8ef9-4d67e659c012",
    "openapi",
    "sbom",
]
# Presses Ctrl-C while the worker's process imports its modules.
IMPATIENT = """
import os, signal, sys

class Impatient:
    def find_spec(self, name, *_):
        if name == "dramatiq.cli" and "dramatiq" in sys.orig_argv:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Impatient())
"""
# Presses Ctrl-C while `orders openapi` builds a validator of Pydantic.
BUILDING = """
import os, signal
from fastapi import FastAPI
from pydantic_core import SchemaValidator, core_schema

class Value:
    def __repr__(self):
        os.kill(os.getpid(), signal.SIGINT)

FastAPI.openapi = lambda self: SchemaValidator(core_schema.literal_schema([Value()]))
"""


def surroundings(database_url: str, redis_url: str, path: Path = ROOT) -> dict[str, str]:
    return {
        "PATH": os.defpath,
        "PYTHONPATH": f"{path}:{ROOT}",
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "ALLOW_UNSAFE_DATABASE": "1",
        "NO_AUTH": "1",
    }


def interrupted(arguments: list[str], after: float, environment: dict[str, str], place: Path) -> str:
    """What a command says that gets a Ctrl-C so many seconds after its start."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", STARTING, *arguments],
        env=environment,
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(after)  # the Ctrl-C comes at this moment of the start
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=END_SECONDS_MAX)
    return said.decode()


@pytest.mark.parametrize("command", COMMANDS)
def test_ctrl_c_at_any_moment_shows_no_traceback(
    command: str, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    environment = surroundings(database_url, redis_url)
    arguments = command.replace("PORT", str(free_port())).split()
    said = {after: interrupted(arguments, after, environment, tmp_path) for after in DELAYS}
    wrong = [text for text in said.values() if "Traceback" in text and text != TOO_EARLY]
    assert not wrong, wrong[0]


def test_a_ctrl_c_in_a_callback_is_neither_printed_nor_lost() -> None:
    program = (
        "import contextlib, sys, time, weakref\n"
        "from service.cli import main\n"
        "sys.argv = ['orders', '--help']\n"
        "with contextlib.suppress(SystemExit):\n"
        "    main()\n"
        "def interrupt(_):\n"
        "    raise KeyboardInterrupt\n"
        "things = [set()]\n"
        "noted = weakref.ref(things[0], interrupt)\n"
        "try:\n"
        "    things.clear()\n"
        f"    time.sleep({END_SECONDS_MAX})  # until the Ctrl-C comes again\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert (done.stdout.splitlines()[-1], done.stderr) == ("interrupted", "")


def test_a_ctrl_c_while_pydantic_builds_a_validator_ends_the_command_silently(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BUILDING)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "service.cli", "openapi"],
        env={"PATH": os.defpath, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_ctrl_c_while_up_starts_shows_no_traceback(tmp_path: Path) -> None:
    environment = {"PATH": os.defpath, "PYTHONPATH": str(ROOT), "NO_AUTH": "1"}
    arguments = ["up", "--port", str(free_port()), "--data-dir", str(tmp_path / "data")]
    for after in DELAYS[::3]:
        assert "Traceback" not in interrupted(arguments, after, environment, tmp_path)


def test_ctrl_c_while_the_worker_imports_its_modules_ends_it_in_order(
    database_url: str, redis_url: str, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(IMPATIENT)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "service.cli", "work"],
        env=surroundings(database_url, redis_url, tmp_path),
        capture_output=True,
        text=True,
        timeout=END_SECONDS_MAX,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == 0
