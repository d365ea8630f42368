"""Writes to the audit what the command line did, with the user's number and the reason."""

import os

from access.audit import record


def actor() -> dict[str, str]:
    """Who uses the command line: the number of the user, not his name."""
    return {"kind": "cli", "id": str(os.getuid())}


def note(database_url: str, act: str, target: str, reason: str | None = None) -> None:
    """Append to the log what was done. Raises psycopg.Error."""
    record(database_url, actor(), act, target, reason)
