"""What folders import: the rules nothing but Python, the events msgspec too, and all what pyproject.toml declares."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Folder -> what it may import besides the standard library.
PURE = {
    "command/domain": ("command.domain", "eventlog.events"),
    "eventlog/events": ("eventlog.events", "msgspec"),
}


def imports_of(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("folder", PURE)
def test_a_pure_folder_imports_the_standard_library_and_its_equals_alone(folder: str) -> None:
    files = sorted((ROOT / folder).rglob("*.py"))
    assert files
    for path in files:
        for name in imports_of(path):
            ours = any(name == allowed or name.startswith(f"{allowed}.") for allowed in PURE[folder])
            assert ours or name.split(".")[0] in sys.stdlib_module_names, f"{path.relative_to(ROOT)} imports {name}"


def test_every_package_that_is_imported_is_declared() -> None:
    """A package that only comes along with another one may go with the next version of that one."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = project["project"]["dependencies"] + project["project"]["optional-dependencies"]["otel"]
    declared = {re.split(r"[\[<>=]", requirement)[0] for requirement in asked}
    ours = {name.removesuffix(".py") for name in project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]}
    files = [ROOT / "orders.py", *(path for name in ours for path in (ROOT / name).rglob("*.py"))]
    imported = {name.split(".")[0] for path in files for name in imports_of(path)} - ours - sys.stdlib_module_names
    assert len(imported) > 10
    brought = packages_distributions()
    for name in sorted(imported):
        names = {re.sub(r"[-_.]+", "-", it).lower() for it in brought[name]}
        assert names & declared, f"declare {names}: {name} is imported"
