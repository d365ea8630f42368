"""Who may do what in the database: what docs/deploying.md says that the migration gives, and nothing else."""

import re
from collections import defaultdict
from pathlib import Path

import psycopg
import pytest

from projector.replay import replay
from service.projections import PROJECTIONS

PAGE = Path(__file__).parents[2] / "docs/deploying.md"

# Every right on a schema, relation, column or function that another role than its owner has.
RIGHTS = """
WITH ours AS (
    SELECT oid, nspname, nspowner, nspacl FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', 'public')
), known AS (
    SELECT nspname AS name, nspowner AS owner, coalesce(nspacl, acldefault('n', nspowner)) AS acl FROM ours
    UNION ALL
    SELECT nspname || '.' || relname, relowner, coalesce(
        relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
    FROM pg_class JOIN ours ON ours.oid = relnamespace WHERE relkind IN ('r', 'v', 'm', 'p', 'f', 'S')
    UNION ALL
    SELECT nspname || '.' || relname || '.' || attname, relowner, attacl
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid JOIN ours ON ours.oid = relnamespace
    WHERE attacl IS NOT NULL
    UNION ALL
    SELECT nspname || '.' || proname || '()', proowner, coalesce(proacl, acldefault('f', proowner))
    FROM pg_proc JOIN ours ON ours.oid = pronamespace
)
SELECT name, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END, privilege_type, is_grantable
FROM known, aclexplode(acl) WHERE grantee <> owner
"""


def documented() -> dict[str, set[tuple[str, str, bool]]]:
    """The rights in the page's table, by the name of the schema, relation or column."""
    rows = re.findall(r"^\| ((?:schemas )?`.*`) \| ([A-Z, ]+) \|$", PAGE.read_text(), re.MULTILINE)
    found: dict[str, set[tuple[str, str, bool]]] = defaultdict(set)
    for what, rights in rows:
        relation, is_of_columns, columns = what.partition(": ")
        names = re.findall("`(.+?)`", columns or relation)
        prefix = relation.strip("`") + "." if is_of_columns else ""
        for name in names:
            found[prefix + name] |= {("orders_writer", right, False) for right in rights.split(", ")}
    return found


def given(database_url: str) -> dict[str, set[tuple[str, str, bool]]]:
    found: dict[str, set[tuple[str, str, bool]]] = defaultdict(set)
    with psycopg.connect(database_url) as connection:
        for name, *right in connection.execute(RIGHTS.encode()).fetchall():
            found[name].add(tuple(right))
    return found


@pytest.mark.parametrize("is_rebuilt", [False, True], ids=["migrated", "rebuilt"])
def test_the_documented_rights_are_all_that_anybody_has(database_url: str, is_rebuilt: bool) -> None:
    for projection in PROJECTIONS if is_rebuilt else ():
        replay(database_url, projection, lambda _: None)
    assert given(database_url) == documented()
    assert "access.api_keys.revoked_at" in documented()
