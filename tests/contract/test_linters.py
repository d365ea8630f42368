"""Redocly and Spectral find nothing wrong with openapi.json. Their rules are in tests/contract/linters."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.clients.languages import NODE_MIN, has_node, run, succeed
from tests.docs.walking import ROOT

LINTERS = Path(__file__).with_name("linters")
DOCUMENT = ROOT / "openapi.json"
# They would look for a newer release, and tell their makers about this run.
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}
COMMANDS = {
    "redocly": ["redocly", "lint", "--config", "redocly.yaml", "--format", "stylish"],
    "spectral": ["spectral", "lint", "--ruleset", "spectral.yaml", "--fail-severity", "hint"],
}
# A document with mistakes, and a rule of each linter that finds one.
WRONG = {"openapi": "3.1.0", "info": {"title": "wrong", "version": "1"}, "paths": {"/": {"get": {"responses": {}}}}}
RULES = {"redocly": "no-empty-servers", "spectral": "info-contact"}


@pytest.fixture(scope="module")
def linters() -> Path:
    """A folder with both programs, as the lock file names them. It stays for later runs."""
    if not has_node():
        if os.environ.get("CI"):
            pytest.fail(f"install Node.js {NODE_MIN} or newer, with npm")
        pytest.skip(f"no Node.js {NODE_MIN} or newer with npm")
    place = Path(sys.prefix) / "linters"
    lock = place / "package-lock.json"
    is_current = lock.exists() and lock.read_bytes() == (LINTERS / lock.name).read_bytes()
    shutil.copytree(LINTERS, place, dirs_exist_ok=True)
    if not is_current or not (place / "node_modules" / ".package-lock.json").exists():
        succeed(run(["npm", "ci", "--silent", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=place))
    return place


def lint(linters: Path, name: str, document: Path) -> tuple[int, list[str]]:
    """The exit code, and the lines that name a problem: Redocly's exit code does not count warnings."""
    program, *arguments = COMMANDS[name]
    done = run([str(linters / "node_modules" / ".bin" / program), *arguments, str(document)], cwd=linters, **QUIET)
    lines = done.stdout.splitlines()
    return done.returncode, [it for it in lines if {"error", "warning", "hint", "information"} & set(it.split()[1:2])]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_linter_finds_nothing(linters: Path, name: str) -> None:
    assert lint(linters, name, DOCUMENT) == (0, [])


@pytest.mark.parametrize("name", COMMANDS)
def test_the_linter_finds_a_mistake(linters: Path, tmp_path: Path, name: str) -> None:
    document = tmp_path / "openapi.json"
    document.write_text(json.dumps(WRONG))
    _, found = lint(linters, name, document)
    assert any(RULES[name] in line for line in found)
