"""Which servers a command works on: those of DATABASE_URL and REDIS_URL, or those that `orders up` runs."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from psycopg import Connection

from database.sessions import READS, Limits, connect
from database.urls import forget_environment
from service.embedded.locks import is_held
from service.errors import MISUSE, OperatorError
from service.settings import Settings


def help_of(setting: str) -> str:
    """The help of an option that has the value of a setting: its meaning, its variable and its default."""
    meaning = Settings.meaning(setting)
    return f"{meaning[:1].upper()}{meaning[1:]} [{setting.upper()}, {Settings.model_fields[setting].default}]"


DataDir = Annotated[Path | None, typer.Option(help=help_of("data_dir"))]

FILE_NAME = "up.json"

# A page of the log or a row of the checkpoint takes milliseconds.
STATEMENT_SECONDS_MAX = 30
LOCK_SECONDS_MAX = 5


def settings(data_dir: Path | None = None, **overrides: Any) -> Settings:
    """Return the settings with database_url and redis_url filled in: what a long-running command starts with.

    Raises OperatorError when only one of the two is set (exit code 2), or none is and no `orders up` runs.
    """
    given = Settings.load(data_dir=data_dir, **overrides)
    if given.database_url and given.redis_url:
        return given
    if given.database_url or given.redis_url:
        missing = "REDIS_URL" if given.database_url else "DATABASE_URL"
        raise OperatorError(f"{missing} is not set: set both DATABASE_URL and REDIS_URL, or neither", exit_code=MISUSE)
    running = _running(given.data_dir)
    forget_environment()
    return given.model_copy(update={"database_url": running["database_url"], "redis_url": running["redis_url"]})


def database_url(data_dir: Path | None = None, *, keeps_environment: bool = False) -> str:
    """Return DATABASE_URL alone, for commands that need no broker.

    `keeps_environment`: libpq's variables stay also where `orders up` runs, for another URL of PostgreSQL.

    Raises OperatorError when it is not set and no `orders up` runs on the data directory.
    """
    given = Settings.load(data_dir=data_dir)
    if given.database_url:
        return given.database_url
    running = _running(given.data_dir)
    if not keeps_environment:
        forget_environment()
    return running["database_url"]


def api_url(data_dir: Path | None) -> str:
    """Return where the API of `orders up` answers. Raises OperatorError when no `orders up` runs on the directory."""
    return _running(Settings.load(data_dir=data_dir).data_dir)["api_url"]


def asking(url: str, name: str) -> Connection:
    """A connection in autocommit for questions to a server that may be slow, locked or away. Raises psycopg.Error."""
    return connect(url, name, Limits(statement=STATEMENT_SECONDS_MAX, lock=LOCK_SECONDS_MAX), settings=READS)


def announce(data_dir: Path, *, database_url: str, redis_url: str, api_url: str) -> None:
    """Write down, for the other commands, what runs on the data directory."""
    facts = {"pid": os.getpid(), "api_url": api_url, "database_url": database_url, "redis_url": redis_url}
    unfinished = data_dir / f"{FILE_NAME}.unfinished"
    unfinished.write_text(json.dumps(facts, indent=2) + "\n")
    unfinished.replace(data_dir / FILE_NAME)


def _running(data_dir: Path) -> dict[str, str]:
    try:
        # The file of an `up` that was killed is still there; its lock is not.
        if is_held(data_dir / "locks" / "postgres.owner"):
            facts: dict[str, str] = json.loads((data_dir / FILE_NAME).read_text())
            return facts
    except (FileNotFoundError, ValueError):
        pass  # it is still starting, or another program has written the file
    except OSError as error:
        raise OperatorError(f"cannot read {error.filename}: {error.strerror}") from error
    raise OperatorError(
        f"no `orders up` runs on {data_dir}: start it, name its --data-dir, or set DATABASE_URL and REDIS_URL"
    )
