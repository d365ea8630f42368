"""Records the runs of `orders import`: a row each, with counts and the first rows that were refused."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.types.json import Json

from command.importing.rejects import Rejects
from command.importing.run import Summary
from database.sessions import Limits, connect
from eventlog.ids import new_id

STATEMENT_SECONDS_MAX = 5.0

_BEGIN = b"INSERT INTO operations.imports (id, path) VALUES (%s, %s)"
_END = b"""
UPDATE operations.imports SET finished_at = clock_timestamp(), accepted = %s, already_there = %s, events = %s,
    refused = %s, first_rejects = %s, error = %s
WHERE id = %s
"""


@dataclass
class Note:
    """The summary of an import; None until the import ends."""

    summary: Summary | None = None


@contextmanager
def recorded(database_url: str, paths: Sequence[Path], rejects: Rejects) -> Iterator[Note]:
    """Record an import that runs within the `with`. An import that cannot be recorded runs all the same."""
    id_ = new_id()
    name = str(paths[0]) if len(paths) == 1 else f"{paths[0].parent} ({', '.join(it.name for it in paths)})"
    note = Note()
    error: str | None = None
    _write(database_url, _BEGIN, (id_, _storable(name)))
    try:
        yield note
    except BaseException as raised:
        error = str(raised) or type(raised).__name__
        raise
    finally:
        it = note.summary or Summary()
        kept = [{name: _storable(value) for name, value in one.items()} for one in rejects.first]
        counts = (it.accepted, it.already_there, it.events, Json(dict(it.refused)), Json(kept))
        _write(database_url, _END, (*counts, _storable(error), id_))


def _write(database_url: str, statement: bytes, values: tuple[object, ...]) -> None:
    # The import itself says what keeps it from the database. A role that may not write here imports unrecorded.
    with suppress(psycopg.Error), connect(database_url, "orders import", Limits(statement=STATEMENT_SECONDS_MAX)) as it:
        it.execute(statement, values)


def _storable(value: object) -> object:
    """PostgreSQL stores no NUL, and no half of a surrogate pair."""
    return value.encode(errors="replace").decode().replace("\0", "\ufffd") if isinstance(value, str) else value
