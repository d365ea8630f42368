"""`python clients/generate.py [python] [typescript]` generates the clients from openapi.json; `make clients` runs it.

First it installs the generators: locked Python packages into a virtual environment of their own
(requirements/clients.txt), locked npm packages into clients/typescript/node_modules. A later run does only what a
changed file asks for.
"""

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "openapi.json"
REQUIREMENTS = ROOT / "requirements" / "clients.txt"
PYTHON = ROOT / "clients" / "python"
TYPESCRIPT = ROOT / "clients" / "typescript"
# Beside the development environment, because the generator's typer is an older one. `make clean` removes both.
ENVIRONMENT = Path(sys.prefix) / "clients"


def python() -> None:
    """Write clients/python/orders_client/generated."""
    target, settings = PYTHON / "orders_client" / "generated", PYTHON / "generator.yml"
    _make(ENVIRONMENT, [REQUIREMENTS], _install_generator)
    generator = [str(ENVIRONMENT / "bin" / "openapi-python-client"), "generate", "--meta", "none", "--overwrite"]
    generator += ["--path", str(DOCUMENT), "--config", str(settings), "--fail-on-warning", "--output-path", str(target)]
    # The generator looks for ruff, which formats the code, on the PATH.
    run = functools.partial(_run, generator, str(ENVIRONMENT / "bin"))
    _make(target, [DOCUMENT, settings, REQUIREMENTS], run)


def typescript() -> None:
    """Write clients/typescript/src/generated.ts and build dist/."""
    if shutil.which("npm") is None:
        sys.exit("npm is missing: install Node.js 20 or newer")
    npm = ["npm", "--silent", "--prefix", str(TYPESCRIPT)]
    lock = TYPESCRIPT / "package-lock.json"
    install = functools.partial(_run, [*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"])
    _make(TYPESCRIPT / "node_modules", [lock], install)

    def build() -> None:
        _run([*npm, "run", "generate"])
        _run([*npm, "run", "build"])

    sources = [path for path in (TYPESCRIPT / "src").glob("*.ts") if path.name != "generated.ts"]
    _make(TYPESCRIPT / "dist", [DOCUMENT, lock, *sorted(TYPESCRIPT.glob("*.json")), *sorted(sources)], build)


def _install_generator() -> None:
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        sys.exit("uv is missing: requirements/dev.txt installs it")
    _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(ENVIRONMENT)])
    interpreter = str(ENVIRONMENT / "bin" / "python")
    _run([uv, "pip", "sync", "--quiet", "--require-hashes", "--python", interpreter, str(REQUIREMENTS)])


def _make(target: Path, sources: list[Path], make: Callable[[], None]) -> None:
    """Call `make`, which writes the folder `target`, unless these sources have made it before."""
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
    mark = target / ".made-from"
    if not mark.exists() or mark.read_text() != digest:
        make()
        mark.write_text(digest)


def _run(command: list[str], path: str | None = None) -> None:
    """Run the command; exits with its output when it fails. `path` comes first on its PATH."""
    environment = os.environ | ({"PATH": f"{path}{os.pathsep}{os.environ['PATH']}"} if path else {})
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


GENERATORS = {"python": python, "typescript": typescript}

if __name__ == "__main__":
    # Two runs at once would write the same files.
    with ENVIRONMENT.with_suffix(".lock").open("w") as running:
        fcntl.flock(running, fcntl.LOCK_EX)
        for name in sys.argv[1:] or GENERATORS:
            GENERATORS[name]()
            print(f"clients/{name} is generated")
