"""Records the runs of `orders import`: a row each, with counts, how far it is, and the first rows that were refused."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
from psycopg.types.json import Json

from command.importing.rejects import Rejects
from command.importing.run import Summary
from database.sessions import Limits, connect
from eventlog.ids import new_id

STATEMENT_SECONDS_MAX = 5.0
PROGRESS_SECONDS = 2.0
# The name of a run names this many files: a shop may come in thousands.
NAMED_FILES_MAX = 10

_BEGIN = b"INSERT INTO operations.imports (id, path, bytes_total) VALUES (%s, %s, %s)"
_PROGRESS = b"""
UPDATE operations.imports SET progressed_at = clock_timestamp(), bytes_read = %s, accepted = %s, already_there = %s,
    events = %s, refused = %s
WHERE id = %s
"""
_END = b"""
UPDATE operations.imports SET progressed_at = clock_timestamp(), bytes_read = %s, accepted = %s, already_there = %s,
    events = %s, refused = %s, finished_at = clock_timestamp(), first_rejects = %s, error = %s
WHERE id = %s
"""

_Figures = tuple[int, int, int, int, dict[str, int]]


@contextmanager
def recorded(
    database_url: str, paths: Sequence[Path], rejects: Rejects, bytes_read: Callable[[], int]
) -> Iterator[Summary]:
    """Record an import that runs within the `with`, and counts its rows in the summary that this yields.

    `bytes_read` tells how far the files are read. An import that cannot be recorded runs all the same. Raises
    psycopg.OperationalError if the database cannot be reached at the start.
    """
    id_, summary, has_ended = new_id(), Summary(), threading.Event()
    name = str(paths[0]) if len(paths) == 1 else f"{paths[0].parent} ({_names(paths)})"

    def figures() -> _Figures:
        return bytes_read(), summary.accepted, summary.already_there, summary.events, dict(summary.refused)

    def write(statement: bytes, found: _Figures, *more: object) -> None:
        # The import itself says what keeps it from the database.
        with suppress(psycopg.OperationalError):
            _write(database_url, statement, (*found[:-1], Json(found[-1]), *more, id_))

    def follow() -> None:
        before = figures()
        while not has_ended.wait(PROGRESS_SECONDS):
            # An import that stands still writes nothing: the time of its last progress shows that.
            if (now := figures()) != before:
                write(_PROGRESS, before := now)

    error: str | None = None
    _write(database_url, _BEGIN, (id_, _storable(name), sum(it.stat().st_size for it in paths)))
    follower = threading.Thread(target=follow, name="import-progress", daemon=True)
    follower.start()
    try:
        yield summary
    except BaseException as raised:
        error = "interrupted" if isinstance(raised, KeyboardInterrupt) else str(raised) or type(raised).__name__
        raise
    finally:
        has_ended.set()
        follower.join()
        kept = [{name: _storable(value) for name, value in one.items()} for one in rejects.first]
        write(_END, figures(), Json(kept), _storable(error))


def _names(paths: Sequence[Path]) -> str:
    more = len(paths) - NAMED_FILES_MAX
    return ", ".join(it.name for it in paths[:NAMED_FILES_MAX]) + (f" and {more:,} more" if more > 0 else "")


def _write(database_url: str, statement: bytes, values: tuple[object, ...]) -> None:
    """Raises psycopg.OperationalError if there is no connection. A role that may not write here imports unrecorded."""
    with connect(database_url, "orders import", Limits(statement=STATEMENT_SECONDS_MAX)) as it, suppress(psycopg.Error):
        it.execute(statement, values)


def _storable(value: object) -> object:
    """PostgreSQL stores no NUL, and no half of a surrogate pair."""
    return value.encode(errors="replace").decode().replace("\0", "\ufffd") if isinstance(value, str) else value
