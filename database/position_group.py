"""How statements find the newest version of a row that each batch updates: log.head, and the checkpoints.

While a snapshot is open (a dump, a report), PostgreSQL keeps every version of the row that comes after it. A statement
without an index reads through all of them. The index of `position_group` puts later positions last, so its end is the
newest version. An update that stays within a group does not touch the index (HOT).
"""

from sqlalchemy import BigInteger, Column, Computed

GROUP_POSITIONS = 1_000
# Selects the newest version of the row alone. A condition on `position_group` would read all versions of its group.
NEWEST = "ORDER BY position_group DESC LIMIT 1"
NEWEST_HEAD = f"(SELECT * FROM log.head {NEWEST}) AS head"  # noqa: S608 - a constant; a table to select from


def position_group() -> Column[int]:
    """The generated column, for a table with the column `position`. The table needs an index of it."""
    return Column(
        "position_group",
        BigInteger,
        Computed(f"position / {GROUP_POSITIONS}", persisted=True),
        nullable=False,
        comment="its index finds the newest version of this row",
    )
