"""What the clients are generated and built with is locked by digest, has a reason, and names no registry."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.clients.languages import CLIENTS
from tests.docs.walking import ROOT

PYPROJECT = tomllib.loads((CLIENTS / "python" / "pyproject.toml").read_text())["project"]
PACKAGE: dict[str, Any] = json.loads((CLIENTS / "typescript" / "package.json").read_text())
LINTERS = ROOT / "tests" / "contract" / "linters"
LOCK: dict[str, Any] = json.loads((CLIENTS / "typescript" / "package-lock.json").read_text())


def test_python_packages_are_locked_with_hashes_and_name_no_registry() -> None:
    text = (ROOT / "requirements" / "clients.txt").read_text()
    assert "://" not in text
    assert not re.search(r"^-", text, re.MULTILINE)
    pins = re.split(r"^(?=\S+==)", text, flags=re.MULTILINE)[1:]
    assert pins
    assert all("--hash=sha256:" in pin for pin in pins)
    names = [re.split(r"[><=]", it)[0] for it in direct_of_python()]
    assert all(any(pin.startswith(f"{name}==") for pin in pins) for name in names)


@pytest.mark.parametrize("folder", [CLIENTS / "typescript", LINTERS], ids=lambda it: it.name)
def test_npm_packages_are_exact_and_locked_with_hashes_and_name_no_registry(folder: Path) -> None:
    package, lock = (json.loads((folder / name).read_text()) for name in ("package.json", "package-lock.json"))
    direct = {**package.get("dependencies", {}), **package["devDependencies"]}
    assert all(re.fullmatch(r"[\d.]+", version) for version in direct.values())
    packages = {name: it for name, it in lock["packages"].items() if name}
    assert packages
    assert all(it["integrity"].startswith("sha512-") for it in packages.values())
    assert not [name for name, it in packages.items() if "resolved" in it]


def test_every_package_of_a_client_has_its_reason() -> None:
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    for name in [re.split(r"[><=]", it)[0] for it in direct_of_python()] + list(direct_of_npm()):
        assert re.search(rf"^\|[^|]*(?<!\w){re.escape(name)}\b", reasons, re.MULTILINE), f"{name} has no reason"


def test_the_clients_have_the_version_of_the_service() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert PYPROJECT["version"] == PACKAGE["version"] == LOCK["version"] == version


def direct_of_python() -> list[str]:
    return [*PYPROJECT["dependencies"], *PYPROJECT["optional-dependencies"]["generator"]]


def direct_of_npm() -> dict[str, str]:
    return {**PACKAGE["dependencies"], **PACKAGE["devDependencies"]}
