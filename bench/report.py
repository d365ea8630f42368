"""What a part found: tables for people, figures for the targets, and every single run for readers who doubt them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable

from bench.load import Load
from bench.rounds import median_of

RESULTS = Path(__file__).resolve().parent / "results"

Cell = str | float | int


@dataclass(slots=True)
class Table:
    title: str
    columns: Sequence[str]
    rows: list[Sequence[Cell]] = field(default_factory=list)
    note: str = ""


@dataclass(slots=True)
class Report:
    """Figures have names such as `write.vs_crud`; see targets.py."""

    part: str
    tables: list[Table] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)

    def keep(self, measured: str, results: Mapping[str, Sequence[Load]]) -> None:
        """Put every run under load on record."""
        for name, loads in results.items():
            for number, load in enumerate(loads):
                self.runs.append({"measured": measured, "contender": name, "round": number, **asdict(load)})


LOAD_COLUMNS = ("connections", "contender", "a second", "lowest - highest", "p50 ms", "p99 ms", "refused", "ours is")


def load_rows(
    connections: int, results: Mapping[str, Sequence[Load]], ratios: Mapping[str, float]
) -> list[Sequence[Cell]]:
    """A row for each contender: medians of its runs."""
    rows: list[Sequence[Cell]] = []
    for name, loads in results.items():
        rates = [load.per_second for load in loads]
        rows.append(
            (
                connections,
                name,
                median_of(loads, lambda load: load.per_second),
                f"{min(rates):,.0f} - {max(rates):,.0f}",
                median_of(loads, lambda load: load.p50_ms),
                median_of(loads, lambda load: load.p99_ms),
                sum(load.refused + load.broken for load in loads),
                f"{ratios[name]:.2f} x" if name in ratios else "",
            )
        )
    return rows


def show(report: Report, console: Console) -> None:
    for table in report.tables:
        console.print(_rich(table))


def write(path: Path, document: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, default=str) + "\n")


def document(
    machine: Mapping[str, object], settings: Mapping[str, object], reports: Iterable[Report]
) -> dict[str, Any]:
    return {
        "machine": dict(machine),
        "settings": dict(settings),
        "parts": {report.part: asdict(report) for report in reports},
    }


def _rich(table: Table) -> RichTable:
    rich = RichTable(title=table.title, title_justify="left", caption=table.note or None, caption_justify="left")
    for number, column in enumerate(table.columns):
        numeric = bool(table.rows) and isinstance(table.rows[0][number], int | float)
        rich.add_column(column, justify="right" if numeric else "left")
    for row in table.rows:
        rich.add_row(*map(_text, row))
    return rich


def _text(cell: Cell) -> str:
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:,.2f}"
    return f"{cell:,}" if isinstance(cell, int) else cell
