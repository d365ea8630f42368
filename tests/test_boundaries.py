"""The rules need nothing but Python, the events msgspec too: checked to the letter, which import-linter cannot."""

import ast
import sys
from collections.abc import Iterator
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
