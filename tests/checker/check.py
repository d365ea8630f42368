"""The one judge of all system tests: a recorded history and the database it left, and what is wrong with them.

A run in which everything is right has no finding. Each finding is a line that says what, and where.
"""

from tests.checker.fold import fold
from tests.checker.history import History
from tests.checker.invariants import log_findings
from tests.checker.outcomes import outcome_findings
from tests.checker.read_tables import read_table_findings
from tests.checker.snapshot import Snapshot

SHOWN_MAX = 20


def findings(database_url: str, history: History | None = None) -> list[str]:
    """All that is wrong with the database, and with what the senders of `history` were told, if there is one.

    The history must be at rest, and have all commands that the log was ever sent.
    """
    return findings_of(Snapshot.take(database_url), history)


def findings_of(taken: Snapshot, history: History | None = None) -> list[str]:
    """The same of a database that was read already."""
    folded = fold(taken.events)
    found = [*log_findings(taken, folded), *read_table_findings(taken, folded)]
    if history is not None:
        found += outcome_findings(history, taken, folded)
    return found


def assert_nothing_wrong(database_url: str, history: History | None = None) -> None:
    """Fail with the first findings, if there are any."""
    found = findings(database_url, history)
    assert not found, f"{len(found)} findings:\n" + "\n".join(found[:SHOWN_MAX])
