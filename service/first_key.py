"""The key that `orders up` makes when there is none, in a file that only the operator can read; and sign-in links."""

import asyncio
import os
from datetime import UTC, datetime
from pathlib import Path

from access import keys, links, store
from access.issuing import Wanted, create
from contract.callers import KEY_BEGINNING
from database.sessions import Limits, connect
from service.cli.acting import actor
from service.errors import OperatorError

FILE_NAME = "api.key"
STATEMENT_SECONDS_MAX = 5


def ensure(database_url: str, data_dir: Path) -> bool:
    """Make an operator's key and write it to `data_dir`, unless a valid one is there. Returns whether it was made."""
    path = data_dir / FILE_NAME
    try:
        if path.exists():
            text = path.read_text(errors="replace").strip()
            if text and not text.startswith(KEY_BEGINNING):
                raise OperatorError(f"{path} holds no API key of orders: move it, or choose another --data-dir")
            with connect(database_url, "orders up", Limits(statement=STATEMENT_SECONDS_MAX)) as connection:
                found = store.of_digest(connection, keys.digest(text))
            if found and found.is_valid(datetime.now(UTC)):
                return False
            path.unlink()  # the key was revoked, or the database is another one
        # No other user may read the file, not even for a moment.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                issued = asyncio.run(create(database_url, Wanted("orders up", "operator"), actor()))
                file.write(issued.text + "\n")
        except BaseException:
            path.unlink()
            raise
    except OSError as error:
        raise OperatorError(f"cannot write {path}: {error.strerror}") from error
    return True


def link(database_url: str) -> str:
    """The token of a new link that signs a browser in once. Raises psycopg.Error."""
    with connect(database_url, "orders up", Limits(statement=STATEMENT_SECONDS_MAX)) as connection:
        return links.make(connection)
