"""How large the code is: `python -m bench.size` counts the lines of every package; `--files` lists each file too.

Production is what the wheel installs and people write: Python, and the console's templates, styles and script. It does
not count what others wrote (Swagger UI, htmx), what a program writes (`openapi.json`, lock files), the clients, the
files of `deploy/`, tests, benchmarks and documentation; those have lines of their own below.
"""

import argparse
import ast
import io
import subprocess
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).parents[1]
PACKAGES = tuple(
    tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
)
OF_OTHERS = ("service/http/static/swagger-ui/", "console/static/htmx/", "tests/console/axe/")
WRITTEN_BY_PROGRAMS = ("openapi.json", "requirements/", "bench/results/", "tests/clients/baseline.txt")
SPLIT = ("service", "command", "projector")  # packages whose folders have a row each
COUNTED = {".py", ".html", ".css", ".js", ".ts", ".sql"}
KINDS = ("code", "docstrings", "comments", "blank")


def main() -> None:
    """Count, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.size", description=__doc__)
    parser.add_argument("--files", action="store_true", help="list each file of production, the largest first")
    given = parser.parse_args()
    production, others, files = Counter[str](), Counter[str](), dict[str, Counter[str]]()
    rows: dict[str, Counter[str]] = {}
    for name in _tracked():
        if (group := _group(name)) is not None:
            others[group] += len((ROOT / name).read_bytes().splitlines())
            continue
        files[name] = found = counted(ROOT / name)
        rows.setdefault(_row(name), Counter()).update(found)
        production.update(found)
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(_table("Production, in lines", dict(_largest_first(rows)) | {"all": production}))
    if given.files:
        console.print(_table("Files", dict(_largest_first(files))))
    console.print(_table("Beside it, in lines", {name: Counter(code=lines) for name, lines in others.most_common()}))


def counted(path: Path) -> Counter[str]:
    """Count the lines of a file by kind. In a file that is not Python every line counts as code, unless it is blank."""
    lines = path.read_text().splitlines()
    blank = {number for number, line in enumerate(lines, 1) if not line.strip()}
    if path.suffix != ".py":
        return Counter(code=len(lines) - len(blank), blank=len(blank))
    docstrings, comments = _docstrings(path.read_text()), _comments(lines)
    return Counter(
        code=len(lines) - len(blank | docstrings | comments),
        docstrings=len(docstrings),
        comments=len(comments - docstrings),
        blank=len(blank - docstrings),
    )


def _docstrings(text: str) -> set[int]:
    found: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and ast.get_docstring(node, clean=False) is not None:
                found |= set(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    return found


def _comments(lines: list[str]) -> set[int]:
    """The lines that have a comment and nothing else."""
    tokens = tokenize.generate_tokens(io.StringIO("\n".join(lines) + "\n").readline)
    return {it.start[0] for it in tokens if it.type == tokenize.COMMENT and it.line.lstrip().startswith("#")}


def _tracked() -> Iterator[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)  # noqa: S607 - git is found by PATH
    yield from (name for name in listed.stdout.splitlines() if (ROOT / name).is_file())


def _group(name: str) -> str | None:
    """The name of the row that counts a file which is not production; None for a file of production."""
    if name.startswith(OF_OTHERS):
        return "written by others"
    if name.startswith(WRITTEN_BY_PROGRAMS) or name.endswith("package-lock.json"):
        return "written by programs"
    if Path(name).suffix in COUNTED and (name in PACKAGES or name.startswith(tuple(f"{it}/" for it in PACKAGES))):
        return None
    folder = name.partition("/")[0]
    return f"{folder}/" if folder in {"tests", "bench", "clients", "deploy", "docs"} else "all else"


def _row(name: str) -> str:
    parts = name.split("/")
    if Path(name).suffix != ".py":
        return f"{parts[0]}: pages"
    return "/".join(parts[:2]) if parts[0] in SPLIT and len(parts) > 2 else parts[0]


def _largest_first(rows: dict[str, Counter[str]]) -> list[tuple[str, Counter[str]]]:
    return sorted(rows.items(), key=lambda it: -it[1].total())


def _table(title: str, rows: dict[str, Counter[str]]) -> Table:
    kinds = [kind for kind in KINDS if any(row[kind] for row in rows.values())]
    table = Table("", "lines", *(kinds if len(kinds) > 1 else ()), title=title, box=None)
    for name, row in rows.items():
        table.add_row(name, f"{row.total():,}", *(f"{row[kind]:,}" for kind in kinds if len(kinds) > 1))
    return table


if __name__ == "__main__":
    main()
