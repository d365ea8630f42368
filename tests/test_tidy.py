"""The house's rules that no linter knows."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "access",
    "command",
    "console",
    "contract",
    "database",
    "eventlog",
    "feed",
    "migrations",
    "projector",
    "query",
    "readmodel",
    "service",
    "timeline",
)
LINES_MAX = 300
TEST_LINES_MAX = 400
SHOWN_LINES_MAX = 150

# Who may end a transaction, and of what kind it is. "commit": what everybody relies on; there are exactly three.
TRANSACTIONS = {
    "eventlog/append.py:append": "commit",  # the writer's: events, claims, keys
    "projector/loop.py:Loop.all_or_nothing": "commit",  # rows and checkpoint
    "projector/replay.py:_swap": "commit",  # the last events, and the schemas' names
    "projector/writer.py:PostgresWriter.transaction": "writer",  # what the loop commits
    "projector/writer.py:PostgresWriter.beat": "note",  # who looked last; no row, no position
    "projector/writer.py:PostgresWriter.report": "note",  # why nothing is projected
    "projector/shadow.py:Shadow.__enter__": "shadow",  # empty tables that nobody reads yet
    "projector/tables.py:Tables.add_keys_and_indexes": "shadow",  # their keys and indexes
    "projector/shadow.py:Shadow.park_orphans": "shadow",  # rows that nobody reads yet
    "projector/tables.py:make_missing": "migration",
    "projector/reports.py:make_missing_views": "migration",
    "projector/heritage.py:names_in_full": "read",  # a setting, rolled back
    "projector/replay.py:_rehearse": "read",  # the swap's statements, rolled back
    "projector/dependents.py:try_out": "read",  # one of those, in their transaction
    "projector/replay.py:_lock_if_free": "read",  # a lock, in the swap's transaction
    "projector/status.py:_built": "read",  # a rebuild that may be over
    "projector/verify.py:verify": "read",  # one snapshot, compared
    "projector/verify.py:_same_position": "read",  # a lock held for a moment
    "service/doctor/__init__.py:examine": "read",  # one snapshot, looked at
    "service/doctor/__init__.py:_findings": "read",  # a savepoint in it
    "migrations/env.py:run": "migration",
    "projector/mirror/writer.py:MirrorWriter.transaction": "writer",  # what the loop commits
    "projector/mirror/building.py:MirrorTables.prepare": "mirror",  # which tables are there
    "projector/mirror/building.py:MirrorTables.rebuild": "mirror",  # the number of the last build
    "projector/mirror/building.py:MirrorTables._make_following": "mirror",  # empty tables that nobody reads yet
    "projector/mirror/building.py:MirrorTables._swap": "mirror",  # the tables that were replaced
    "projector/mirror/sqlite.py:SqliteTarget.swap": "mirror",  # the tables' names
    "projector/mirror/postgres.py:PostgresTarget._rename": "mirror",  # the schemas' names
    "projector/mirror/postgres.py:PostgresTarget.rehearse": "read",  # the swap's statements, rolled back
    "projector/mirror/postgres.py:PostgresTarget.take": "read",  # a lock of the session
    "projector/mirror/building.py:MirrorTables.complete": "mirror",  # the number of the build
    "projector/mirror/target.py:Target.complete": "mirror",  # indexes
    "projector/mirror/target.py:Target.make_views": "mirror",  # views for reports
    "projector/mirror/mysql.py:MysqlTarget._when_free": "mirror",  # a setting of the session
    "projector/mirror/mysql.py:MysqlTarget._rename": "mirror",  # the tables' names
    "projector/mirror/mysql.py:MysqlTarget.take": "read",  # a lock of the session
    "projector/mirror/mysql.py:MysqlTarget.snapshot": "read",  # version and mode of the server
    "projector/mirror/postgres.py:PostgresTarget.snapshot": "read",  # a setting of the session
    "projector/mirror/following.py:Mirror._at_work": "read",  # version and mode of the server
    "projector/mirror/verifying.py:verify": "read",  # one snapshot, compared
}

# Files with a statement that writes. All else reads.
WRITING = {
    "access/links.py",
    "access/store.py",
    "eventlog/append.py",
    "eventlog/idempotency.py",
    "eventlog/skips.py",
    "eventlog/snapshots.py",
    "eventlog/verifications.py",
    "migrations/env.py",
    "migrations/versions",
    "projector/dependents.py",
    "projector/jobs/table.py",
    "projector/mirror/mysql.py",
    "projector/mirror/postgres.py",
    "projector/mirror/sqlite.py",
    "projector/mirror/standings.py",
    "projector/mirror/target.py",
    "projector/replay.py",
    "projector/reports.py",
    "projector/rows.py",
    "projector/shadow.py",
    "projector/tables.py",
    "projector/writer.py",
    "service/doctor/finding.py",  # prints the remedy of a setting
    "service/embedded/postgres.py",
    "service/import_runs.py",
}

ENDS = {"transaction", "commit", "begin"}
_WRITES = re.compile(
    r"\s*(INSERT INTO|UPDATE|DELETE FROM|COPY|TRUNCATE|MERGE|CREATE|ALTER|DROP|GRANT|REVOKE|LOCK TABLE)\s"
)
_WITH_A_WRITE = re.compile(r"\s*WITH\b.*\b(INSERT INTO|UPDATE|DELETE FROM)\s", re.DOTALL)
# Written with a gap, so that this file does not name what it looks for.
_MACHINES = re.compile(r"(?<![\w.:/])/(wor" + r"k|hom" + r"e|roo" + r"t|Users)/\w")
_REGISTRIES = re.compile(
    "py" + r"pi\.(org|python)|python" + r"hosted|regis" + r"try\.npm|proxy\.go" + "lang|conda" + r"\.anaconda"
)


def tracked() -> list[Path]:
    """The repository's own files: those that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        pytest.skip("not a git repository")
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def lines_of(path: Path) -> int:
    return len(path.read_text().splitlines())


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.AST, within: str = "") -> Iterator[tuple[str, ast.AST]]:
    """Every node of a module beside the name of the function that it is in ("" outside of all)."""
    for node in ast.iter_child_nodes(tree):
        inside = within
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inside = f"{within}.{node.name}".lstrip(".")
        yield inside, node
        yield from functions(node, inside)


def text_of(node: ast.AST) -> str | None:
    """The text of a literal, of an f-string also; None of anything else."""
    match node:
        case ast.Constant(value=str(value)):
            return value
        case ast.Constant(value=bytes(value)):
            return value.decode(errors="replace")
        case ast.JoinedStr(values=values):
            return "".join(text_of(value) or "?" for value in values)
    return None


def documentation(tree: ast.Module) -> set[int]:
    """The ids of the nodes that are docstrings."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                found.add(id(first.value))
    return found


def test_exactly_three_places_commit() -> None:
    """Every call of transaction(), commit() and begin(), and every statement COMMIT, is on the list, and the list true.

    Connections that only read are in autocommit, where nothing is ever left open; the files that write are listed too.
    """
    found = set()
    for path in modules(*PACKAGES):
        for function, node in functions(ast.parse(path.read_text())):
            ends = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ENDS
            says_so = re.match(r"(COMMIT|END)\b", (text_of(node) or "").strip())
            if ends or says_so:
                found.add(f"{name_of(path)}:{function}")
    assert found == set(TRANSACTIONS)
    assert list(TRANSACTIONS.values()).count("commit") == 3


def test_statements_that_write_stand_in_few_places() -> None:
    found = set()
    for path in modules(*PACKAGES):
        tree = ast.parse(path.read_text())
        docstrings = documentation(tree)
        for node in ast.walk(tree):
            text = text_of(node) if id(node) not in docstrings else None
            if text and (_WRITES.match(text) or _WITH_A_WRITE.match(text)):
                name = name_of(path)
                found.add("migrations/versions" if name.startswith("migrations/versions/") else name)
    assert found == WRITING


def test_only_database_connects_to_postgresql() -> None:
    """Elsewhere a session would inherit settings that the code does not expect."""
    connects = re.compile(r"\bpsycopg\.connect\(|Connection\.connect\(|connection_class\.connect\(|ConnectionPool\(")
    found = {path.relative_to(ROOT).parts[0] for path in modules(*PACKAGES) if connects.search(path.read_text())}
    assert found == {"database"}


def test_no_caller_hands_a_projection_a_connection() -> None:
    """A projection inserts and sets, and runs no SQL."""
    for path in modules("projector/projections"):
        tree = ast.parse(path.read_text())
        imported = {
            alias.name if isinstance(node, ast.Import) else str(node.module)
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        assert not any(name.startswith(("psycopg", "sqlalchemy")) for name in imported), name_of(path)


def test_a_file_has_one_idea() -> None:
    too_long = [name_of(path) for path in modules(*PACKAGES) if lines_of(path) > LINES_MAX]
    too_long += [name_of(path) for path in modules("tests", "bench") if lines_of(path) > TEST_LINES_MAX]
    # A migration is one list of statements.
    too_long = [name for name in too_long if not name.startswith("migrations/versions/")]
    assert not too_long


def test_the_files_that_the_readme_shows_first_fit_on_a_few_screens() -> None:
    table = (ROOT / "README.md").read_text().partition("Six files")[2].partition("\n| To |")[0]
    shown = re.findall(r"\]\((\S+\.py)\)", table)
    assert len(shown) == 6
    long = [f"{name}: {lines_of(ROOT / name)} lines" for name in shown if lines_of(ROOT / name) > SHOWN_LINES_MAX]
    assert not long, f"the six files of README.md have at most {SHOWN_LINES_MAX}; a new command goes into another file"


def test_a_module_begins_with_a_sentence_for_its_reader() -> None:
    without = []
    for path in modules(*PACKAGES, "bench"):
        sentence = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n\n")[0]
        if not sentence.rstrip().endswith((".", ":", "?", "`")):
            without.append(name_of(path))
    assert not without


def test_a_name_says_what_a_thing_is() -> None:
    vague = []
    for path in modules(*PACKAGES, "tests", "bench"):
        words = {word for part in path.relative_to(ROOT).with_suffix("").parts for word in part.lower().split("_")}
        if words & {"util", "utils", "helper", "helpers", "common", "core", "manager", "misc"}:
            vague.append(name_of(path))
        vague.extend(
            f"{name_of(path)}: {node.name}"
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.ClassDef) and re.search(r"(Util|Utils|Helper|Helpers|Manager)$", node.name)
        )
    assert not vague


def test_only_the_command_line_prints() -> None:
    """What an operator reads is printed by service/cli, and by what `orders up` and embedded servers say."""
    printing = set()
    for path in modules(*PACKAGES):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                printing.add(name_of(path))
    elsewhere = {name for name in printing if not name.startswith("service/cli/")}
    assert elsewhere == {"service/embedded/child.py", "service/embedded/account.py"}


def test_no_file_names_a_package_registry_or_a_place_on_one_machine() -> None:
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        for found in (_REGISTRIES.search(text), _MACHINES.search(text)):
            assert found is None, f"{name_of(path)}: {found and found[0]}"


def test_there_is_no_package_below_tests() -> None:
    """tests/command/__init__.py would shadow the package command."""
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_every_file_that_a_comment_names_is_there() -> None:
    for path in modules(*PACKAGES):
        for name in re.findall(r"\b(?:tests|docs|bench)/[\w/.-]+\.(?:py|md)\b", path.read_text()):
            assert (ROOT / name).exists(), f"{name_of(path)} names {name}"


def test_a_projection_with_a_route_is_four_files() -> None:
    """The projection `sales` is known to its tables, its handlers, its route and the list, and to nothing else."""
    name = re.compile(r"\b(SALES|DailySales|DailyOrders|daily_sales|readmodel\.sales|query\.sales)\b|\"sales\"")
    known_to = {name_of(path) for path in modules(*PACKAGES) if name.search(path.read_text())}
    assert known_to == {
        "readmodel/sales.py",
        "projector/projections/sales.py",
        "query/sales.py",
        "service/projections.py",
    }
