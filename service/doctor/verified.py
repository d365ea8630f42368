"""When each projection was last verified, and with which result."""

from service.projections import PROJECTIONS

# Differences count while the tables are those that were verified: a replay makes others. `is_late` is true when the log
# is older than the verification may be.
_ONE = """
SELECT '{name}' AS projection, verified_at, verified.position,
    CASE WHEN verified.generation = checkpoint.generation THEN differences ELSE 0 END AS differences,
    coalesce(verified_at, (SELECT recorded_at FROM log.events WHERE position = 1))
        < clock_timestamp() - make_interval(days => %(days)s) AS is_late
FROM {name}.checkpoint AS checkpoint LEFT JOIN log.verifications AS verified ON projection = '{name}'
"""
VERIFIED = " UNION ALL ".join(_ONE.format(name=it.name) for it in PROJECTIONS).encode()
