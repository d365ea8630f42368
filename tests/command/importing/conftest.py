import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from command.importing.rejects import Rejects
from command.importing.run import Summary, import_files


class Shop:
    """Imports into a database, and asks the log what became of it."""

    def __init__(self, database_url: str, place: Path) -> None:
        self.database_url = database_url
        self.place = place
        self.rejects_path = place / "rejects.jsonl"

    def load(
        self,
        *paths: Path,
        currency: str | None = "EUR",
        has_read: Callable[[int, int], None] = lambda _bytes, _rows: None,
        retry: bool = False,
    ) -> Summary:
        with Rejects(self.rejects_path) as rejects:
            return asyncio.run(import_files(self.database_url, paths, rejects, currency, has_read, retry))

    def file(self, name: str, *rows: dict[str, Any] | str) -> Path:
        """A file of these rows; text stands as it is."""
        path = self.place / name
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        return path

    @property
    def rejected(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.rejects_path.read_text().splitlines()]

    @property
    def codes(self) -> list[tuple[int, str]]:
        return [(it["line"], it["code"]) for it in self.rejected]

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database_url) as connection:
            return connection.execute(query).fetchall()

    @property
    def events(self) -> int:
        return int(self.ask("SELECT count(*) FROM log.events")[0][0])


@contextmanager
def waiting_for_the_head(database_url: str) -> Iterator[list[float]]:
    """Take the log's head again and again, as others' commands do; the seconds that each waited for it."""
    stop, waited = threading.Event(), list[float]()

    def take() -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            while not stop.wait(0.02):
                began = time.perf_counter()
                connection.execute("SELECT FROM log.head FOR UPDATE")
                waited.append(time.perf_counter() - began)

    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(take)
        try:
            yield waited
        finally:
            stop.set()
            taking.result()


@pytest.fixture
def shop(database_url: str, tmp_path: Path) -> Shop:
    return Shop(database_url, tmp_path)
