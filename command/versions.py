"""Optimistic concurrency of callers: the version they have seen must be the version that is."""

from typing import Any

from command.domain.refusals import VersionMismatch
from command.states import Entity


def check_version(entity: Entity[Any], expected: int | None) -> None:
    """Raise VersionMismatch unless `expected` is None or the entity's version."""
    if expected is not None and expected != entity.version:
        raise VersionMismatch(expected, entity.version)
