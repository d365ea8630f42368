"""Narrowing down: when a batch is refused as a whole, the event that is to blame is found by trying smaller ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import psycopg

from projector.rows import RowMissing

T = TypeVar("T")


class Refused(Exception):
    """One of `events` events cannot be projected, the one at `position` if that is known; the batch was rolled back."""

    def __init__(self, reason: str, events: int, position: int | None = None) -> None:
        super().__init__(reason)
        self.reason, self.events, self.position = reason, events, position


class RowsRefused(Exception):
    """A database other than PostgreSQL does not take some rows. The message quotes no value."""


class Narrowing:
    """Repeats refused batches. `given_up`: the positions of the events to park, each with its error."""

    def __init__(self) -> None:
        self.given_up: dict[int, str] = {}
        self._limit: int | None = None

    def run(self, batch: Callable[[int], T], limit: int) -> T:
        """Call `batch` with at most `limit` events, fewer until it is not refused, and return its result.

        It is called with half as many until one event is left, or with those up to the event that is known.
        """
        while True:
            try:
                done = batch(min(limit, self._limit or limit))
            except Refused as refused:
                if refused.position is None:
                    self._limit = refused.events // 2
                else:
                    self.given_up[refused.position] = refused.reason
                    self._limit = refused.events
            else:
                if self._limit is not None:
                    # Growing again, not at once as large as before: bad events come in crowds.
                    self._limit = self._limit * 2 if self._limit < limit else None
                return done

    def passed(self, position: int) -> None:
        """Forget the events given up at positions up to this one: their streams have been parked."""
        self.given_up = {bad: error for bad, error in self.given_up.items() if bad > position}


@contextmanager
def refusing(events: int, position: int) -> Iterator[None]:
    """Raise Refused when the tables do not take the rows of `events` events, the first of them at `position`.

    Other errors, such as a full disk or a missing right, pass: no event is to blame.
    """
    try:
        yield
    except (psycopg.IntegrityError, psycopg.DataError, RowMissing, RowsRefused, UnicodeError) as error:
        if isinstance(error, RowsRefused):
            reason = str(error)
        elif isinstance(error, psycopg.Error):
            # Not the detail: that quotes the row, and with it perhaps a person.
            reason = error.diag.message_primary or type(error).__name__
        else:
            reason = f"{type(error).__name__}: {error}"
        raise Refused(reason, events, position if events == 1 else None) from error
