"""Writes acts of the command line to the audit."""

import asyncio
import os
from typing import Annotated

import typer

from access.audit import REASON_LENGTH_MAX, append_act
from service.errors import MISUSE, OperatorError


def _limited(reason: str | None) -> str | None:
    if reason and len(reason) > REASON_LENGTH_MAX:
        raise OperatorError(f"--reason has more than {REASON_LENGTH_MAX:,} characters", MISUSE)
    return reason


Reason = Annotated[str | None, typer.Option(callback=_limited, help="Why, for the audit")]
SkipReason = Annotated[
    str,
    typer.Option("--reason", callback=_limited, help="Why the read tables can do without the event; it is recorded"),
]


def actor() -> dict[str, str]:
    """The actor of an act on the command line: the user's number, never a name."""
    return {"kind": "cli", "id": str(os.getuid())}


def note(database_url: str, act: str, target: str, reason: str | None = None) -> None:
    """Append an act to the log, with its reason. Raises psycopg.Error."""
    asyncio.run(append_act(database_url, actor(), act, target, reason))
