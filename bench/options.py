"""How long and how large the measurements are."""

from dataclasses import dataclass
from pathlib import Path


class BenchError(Exception):
    """A measurement that cannot be made, or does not count; told in one line."""


@dataclass(frozen=True, slots=True)
class Options:
    """`seconds` is the length of one run under load; every figure is the median of `rounds` runs.

    `quick` makes data sets a fraction of their size: for trying the harness out, not for figures.
    """

    seconds: float = 10.0
    rounds: int = 3
    quick: bool = False
    directory: Path | None = None

    def size(self, full: int, quick: int) -> int:
        """A data set's size: `full`, or `quick` with --quick."""
        return quick if self.quick else full
