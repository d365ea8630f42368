"""Every locked requirement has a hash, and `orders sbom` names what is installed."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("requirements_check", ROOT / ".ci/requirements.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_every_locked_requirement_has_a_hash(check: ModuleType, path: Path) -> None:
    assert "==" in path.read_text()
    assert check.unhashed(path.read_text()) == []


def test_a_requirement_without_a_hash_is_found(check: ModuleType) -> None:
    hashed = "{} \\\n    --hash=sha256:00\n    # via x\n"
    text = hashed.format("alpha==1.0") + "beta==2.0\n    # via x\n" + hashed.format("gamma[all]==3.0")
    assert check.unhashed(text) == ["beta"]
    assert check.unhashed("delta>=1\n") == ["delta>=1"]


def test_the_bill_of_materials_names_every_package_with_its_licence() -> None:
    command = [sys.executable, "-P", "-m", "service.cli", "sbom"]
    document = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    named = {it["name"]: it for it in document["components"]}
    assert {"fastapi", "psycopg", "pyjwt", "cryptography"} <= named.keys()
    assert named["fastapi"]["purl"] == f"pkg:pypi/fastapi@{named['fastapi']['version']}"
    unnamed = [name for name, it in named.items() if "licenses" not in it]
    assert len(unnamed) < len(named) / 10
