"""Writing behind: the new rows of one page go out while the next page is folded, so PostgreSQL and Python both work."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self


class WriteBehind:
    """A thread that writes one thing at a time. A batch of one page never starts it.

    While something is being written nobody else may use its connection: `wait` first. Leaving the `with` waits as well,
    so that a transaction is never rolled back under it.
    """

    def __init__(self) -> None:
        self._thread: ThreadPoolExecutor | None = None
        self._writing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread is not None:
            self._thread.shutdown()

    def start(self, write: Callable[[], None]) -> None:
        """Have it written. Nothing else may be under way."""
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="write-behind")
        self._writing = self._thread.submit(write)

    def wait(self) -> None:
        """Until it is written. Raises what the writing raised."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()
