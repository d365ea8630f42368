"""The steps of the service's work at which a process can be made to stop: see steps.py, which does so from outside."""

import functools
import os
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.sabotage.imports import Patch

VARIABLE = "ORDERS_TEST_STEPS"
LOOK_AGAIN_SECONDS = 0.005


def is_armed(step: str) -> bool:
    return (Path(os.environ[VARIABLE]) / step).exists()


def reach(step: str) -> None:
    """Stop here, if somebody wants it."""
    directory = Path(os.environ[VARIABLE])
    reached = directory / f"{step}.reached"
    try:
        (directory / step).rename(reached)
    except FileNotFoundError:
        return
    while reached.exists():
        time.sleep(LOOK_AGAIN_SECONDS)


def _around_append(append: ModuleType) -> None:
    original = append.append

    @functools.wraps(original)
    async def stopping(connection: Any, batch: Any, *rest: Any, **options: Any) -> None:
        reach("before-append")
        if is_armed("before-commit"):
            async with connection.pipeline():
                for query, parameters in append.statements(batch):
                    await connection.execute(query, parameters)
            reach("before-commit")
            await connection.execute(b"COMMIT")
        else:
            await original(connection, batch, *rest, **options)
        if is_armed("commit-unheard"):
            reach("commit-unheard")
            # Should the server be gone by now, this is how it looks when it goes before its answer has come.
            await connection.execute(b"SELECT")
        reach("before-answer")

    append.append = stopping  # type: ignore[attr-defined]


def _before_bell(bell: ModuleType) -> None:
    original = bell.Bell._ring

    # In the bell's thread: the process goes on, and the answers go out.
    def stopping(self: Any) -> Any:
        reach("before-bell")
        return original(self)

    bell.Bell._ring = stopping


def _in_batch(rows: ModuleType) -> None:
    original = rows.Rows.write

    def stopping(self: Any, connection: Any, schema: str, *rest: Any, **options: Any) -> Any:
        written = original(self, connection, schema, *rest, **options)
        if schema == "shop":
            reach("mid-batch")
        elif schema.endswith("_next"):
            reach("mid-replay")
        return written

    rows.Rows.write = stopping


def _in_swap(replay: ModuleType) -> None:
    original = replay._swap

    def stopping(connection: Any, *rest: Any, **options: Any) -> Any:
        execute = connection.execute
        renamed: list[str] = []

        def watched(query: Any, *parameters: Any, **more: Any) -> Any:
            if "ALTER SCHEMA" in str(query):
                renamed.append(str(query))
                if len(renamed) == 2:
                    reach("mid-swap")
            return execute(query, *parameters, **more)

        connection.execute = watched
        try:
            return original(connection, *rest, **options)
        finally:
            del connection.execute

    replay._swap = stopping  # type: ignore[attr-defined]


PATCHES: list[tuple[str, Patch]] = [
    ("eventlog.append", _around_append),
    ("projector.bell", _before_bell),
    ("projector.rows", _in_batch),
    ("projector.replay", _in_swap),
]
