"""The clients as users have them: generated, built, and used by a script outside of this project's environment."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Protocol

import pytest

from tests.docs.walking import ROOT

CLIENTS = ROOT / "clients"
ENVIRONMENT = Path(sys.prefix) / "clients"
SECONDS_MAX = 120
NODE_MIN = 20


class Language(Protocol):
    """One language's client. `place` is an empty folder for what is built and for scripts."""

    folder: Path  # clients/<language>
    block: str  # the language of its README's example
    suffix: str  # of a script's name

    def build(self, place: Path) -> None: ...

    def check_types(self, *scripts: Path) -> subprocess.CompletedProcess[str]:
        """Check scripts in `place` in the strictest mode, with the client."""
        ...

    def run(self, script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a script whose types have been checked."""
        ...


class Python:
    folder = CLIENTS / "python"
    block = "python"
    suffix = ".py"

    def build(self, place: Path) -> None:
        generate("python")
        # As a wheel, so that a file that the package forgets is missed.
        build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(place)]
        succeed(run(build, cwd=self.folder))
        (wheel,) = place.glob("*.whl")
        self._package = place / "package"
        zipfile.ZipFile(wheel).extractall(self._package)

    def check_types(self, *scripts: Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "mypy", "--config-file=", "--strict", "--package", "orders_client"]
        options = [
            "--python-executable",
            str(ENVIRONMENT / "bin" / "python"),
            "--cache-dir",
            str(self._package / ".mypy"),
        ]
        modules = [option for script in scripts for option in ("--module", script.stem)]
        path = os.pathsep.join({str(self._package), *(str(script.parent) for script in scripts)})
        return run([*command, *options, *modules], cwd=self._package, MYPYPATH=path)

    def run(self, script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(ENVIRONMENT / "bin" / "python"), "-W", "error", str(script), *arguments]
        return run(command, cwd=script.parent, PYTHONPATH=str(self._package))


class TypeScript:
    folder = CLIENTS / "typescript"
    block = "ts"
    suffix = ".ts"

    def build(self, place: Path) -> None:
        if not has_node():
            if os.environ.get("CI"):
                pytest.fail(f"install Node.js {NODE_MIN} or newer, with npm")
            pytest.skip(f"no Node.js {NODE_MIN} or newer with npm")
        generate("typescript")
        modules = place / "node_modules"
        modules.mkdir()
        (modules / "orders-client").symlink_to(self.folder)
        (modules / "@types").symlink_to(self.folder / "node_modules" / "@types")
        (place / "package.json").write_text('{"type": "module"}')

    def check_types(self, *scripts: Path) -> subprocess.CompletedProcess[str]:
        compiler = self.folder / "node_modules" / "typescript" / "bin" / "tsc"
        options = ["--strict", "--skipLibCheck", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess"]
        options += ["--target", "ES2022", "--module", "NodeNext"]
        return run(["node", str(compiler), *options, *map(str, scripts)], cwd=scripts[0].parent)

    def run(self, script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(["node", str(script.with_suffix(".js")), *arguments], cwd=script.parent)


LANGUAGES: dict[str, type[Language]] = {"python": Python, "typescript": TypeScript}


def has_node() -> bool:
    if shutil.which("node") is None or shutil.which("npm") is None:
        return False
    version = succeed(run(["node", "--version"], cwd=ROOT))  # v20.20.2
    return int(version.removeprefix("v").partition(".")[0]) >= NODE_MIN


def generate(name: str) -> None:
    """Do what `make clients` does."""
    succeed(run([sys.executable, str(CLIENTS / "generate.py"), name], cwd=ROOT))


def succeed(done: subprocess.CompletedProcess[str]) -> str:
    """Return what it printed. Fails with the output of a command that failed."""
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run(command: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
