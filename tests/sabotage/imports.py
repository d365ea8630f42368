"""Patching a module of the service in the moment that it has been imported, without touching its file."""

import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

Patch = Callable[[ModuleType], None]

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]


def environment(**variables: str) -> dict[str, str]:
    """What a process needs to be sabotaged, with the variables that say how."""
    return {"PYTHONPATH": f"{FOLDER}{os.pathsep}{ROOT}", **variables}


def after_import(module: str, patch: Patch) -> None:
    """Run `patch` on the module of that name once it has been imported."""
    assert module not in sys.modules, f"{module} has been imported already"
    sys.meta_path.insert(0, _Patching(module, patch))


class _Patching(MetaPathFinder):
    """Finds one module, once, as everybody else would, and runs a patch after its code."""

    def __init__(self, module: str, patch: Patch) -> None:
        self._module = module
        self._patch = patch

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._module:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        assert spec is not None, f"there is no module {fullname}"
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_patch(module: ModuleType) -> None:
            execute(module)
            self._patch(module)

        spec.loader.exec_module = execute_and_patch  # type: ignore[method-assign]
        return spec
