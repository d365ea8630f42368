"""Writes acts of the command line to the audit."""

import asyncio
import os

from access.audit import append_act


def actor() -> dict[str, str]:
    """The actor of an act on the command line: the user's number, never a name."""
    return {"kind": "cli", "id": str(os.getuid())}


def note(database_url: str, act: str, target: str, reason: str | None = None) -> None:
    """Append an act to the log, with its reason. Raises psycopg.Error."""
    asyncio.run(append_act(database_url, actor(), act, target, reason))
