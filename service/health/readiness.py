"""Whether the service can do its work, and what is in its way, measured against the log's head: /readyz."""

from typing import NamedTuple

import access.tables
import eventlog.tables
from command.writer import Writer
from console.words import counted
from contract.problems import Problem
from database.sessions import HIDDEN
from projector.bell import Bell
from projector.status import LOG, Standing
from query.database import NEEDED_GRANTS, NOT_READ, Reads, Statement
from service.access import Access
from service.health.durability import SWITCHED_OFF, remedy
from service.health.holders import HELD_SECONDS_MIN, HOLDERS, Holder
from service.health.standings import shared, standings_of
from service.health.writes import Writes
from service.settings import Settings

# A probe needs its answer soon, even when the database is frozen.
ANSWER_SECONDS_MAX = 2.0

# `found`: the columns that the tables of the log and the keys have.
_PRIMARY = Statement(
    b"""
WITH found AS (
    SELECT nspname || '.' || relname || '.' || attname AS name, attnotnull AND NOT atthasdef AS needs_value
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid JOIN pg_namespace ON pg_namespace.oid = relnamespace
    WHERE attrelid = ANY(ARRAY(SELECT to_regclass(name)::oid FROM unnest(%(tables)s::text[]) AS name))
        AND attnum > 0 AND NOT attisdropped AND attidentity = ''
)
SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only')::boolean,
    ARRAY(SELECT name FROM unnest(%(tables)s::text[]) AS name WHERE to_regclass(name) IS NULL),
    has_table_privilege(to_regclass('log.events'), 'INSERT'),
    ARRAY(SELECT name FROM unnest(%(columns)s::text[]) AS name WHERE name NOT IN (SELECT name FROM found)),
    ARRAY(SELECT name FROM found WHERE needs_value AND name <> ALL(%(columns)s::text[])),
    ARRAY(SELECT name FROM unnest(%(tables)s::text[]) AS name
        WHERE name LIKE 'log.%%' AND row_security_active(to_regclass(name)::oid)),
    ARRAY("""
    + SWITCHED_OFF
    + b""")
"""
)
_OURS = [table for tables in (eventlog.tables, access.tables) for table in tables.metadata.sorted_tables]
_TABLES = [table.fullname for table in _OURS]
_COLUMNS = [f"{table.fullname}.{column.name}" for table in _OURS for column in table.columns]
_HOLDERS = Statement(HOLDERS)
_LOG = Statement(LOG)
# A right on any column will do: a role may have rights on each column instead of the table.
_UNREADABLE = Statement(
    b"SELECT DISTINCT CASE WHEN to_regclass(name) IS NULL THEN 'table ' || name WHEN attname IS NULL "
    b"THEN 'column ' || name || '.' || wanted ELSE name END, attname IS NULL "
    b"FROM unnest(%(tables)s::text[], %(columns)s::text[]) AS needed (name, wanted) "
    b"LEFT JOIN pg_attribute ON attrelid = to_regclass(name) AND attname = wanted AND NOT attisdropped "
    b"WHERE attname IS NULL OR NOT has_any_column_privilege(attrelid, 'SELECT') ORDER BY 1"
)


class Condition(NamedTuple):
    """The troubles by name: those that stop commands or projections, and those that reads go on beside."""

    not_ready: dict[str, str]
    degraded: dict[str, str]


class Health:
    """Asks on connections of its own, so that an answer waits for no other request. Open `connections` before."""

    def __init__(self, settings: Settings, bell: Bell, writer: Writer, access: Access) -> None:
        assert settings.database_url is not None
        self._bell = bell
        self._writes = Writes(settings.database_url, writer)
        self._access = access
        self._unsafe_is_allowed = settings.allow_unsafe_database
        self._primary = _connection(settings.database_url)
        replica_url = settings.query_database_url
        self._has_replica = replica_url not in (None, settings.database_url)
        self._reads = _connection(replica_url) if replica_url and self._has_replica else self._primary
        self.connections = {self._primary, self._reads}

    def workers(self) -> int | None:
        """How many workers hear the bell, as of seconds ago; None while Redis does not answer."""
        return self._bell.listeners

    async def condition(self) -> Condition:
        troubles = {"bell": self._bell.trouble, "commands": await self._of_commands()}
        troubles["tokens"] = self._access.trouble_of_tokens
        degraded = {name: trouble for name, trouble in troubles.items() if trouble}
        not_ready: dict[str, str] = {}
        if trouble := self._access.holder.trouble:
            if self._access.holder.is_loaded:
                degraded["access"] = f"{trouble}; the last known ones hold, so a revoked key may still work"
            else:
                not_ready["access"] = trouble
        if reason := await self._of_primary():
            not_ready["database"] = reason
            if not self._has_replica:
                # The database has just failed to answer: a second query would wait as long.
                return Condition(not_ready, degraded)
        standings: list[Standing] = []
        name = "replica" if self._has_replica else "database"
        try:
            standings = await standings_of(self._reads)
            if reason := await self._of_reads(standings, compares="database" not in not_ready):
                not_ready.setdefault(name, reason)
        except Problem as problem:
            setting = "QUERY_DATABASE_URL" if self._has_replica else "DATABASE_URL"
            not_ready.setdefault(name, "; ".join([_with_remedy(problem, setting), *await self._holders()]))
        if reasons := _grouped(standings):
            not_ready["projector"] = "; ".join([*reasons, *await self._holders()])
        if parked := [
            counted(it.parked, f"stream of {it.name}", f"streams of {it.name}") for it in standings if it.parked
        ]:
            degraded["projector"] = f"parked: {', '.join(parked)}; see `orders parked`"
        return Condition(not_ready, degraded)

    async def _of_commands(self) -> str | None:
        trouble = await self._writes.trouble()
        return trouble and "; ".join([trouble, *await self._holders()])

    async def _of_primary(self) -> str | None:
        try:
            found = await self._primary.row(_PRIMARY, {"tables": _TABLES, "columns": _COLUMNS})
        except Problem as problem:
            return _with_remedy(problem, "DATABASE_URL")
        is_standby, is_frozen, missing, may_append, gone, added, hidden, off = found
        if is_standby:
            return "DATABASE_URL leads to a standby, which takes no commands"
        if is_frozen:
            return "it only reads: default_transaction_read_only is on for the server, the database or the role"
        if missing == _TABLES:
            return "its tables are missing: run `orders migrate`"
        if missing or gone:
            return f"it lacks {', '.join(missing or gone)}: restore it from a backup, whole"
        if hidden:
            return HIDDEN.format(", ".join(hidden))
        if added:
            what = f"columns that are not of this release, NOT NULL and without a default ({', '.join(added)})"
            return f"it has {what}: allow NULL, give them a default, or drop them"
        if not may_append:
            return f"the role of DATABASE_URL may not append to log.events: {NEEDED_GRANTS}"
        if off and not self._unsafe_is_allowed:
            return f"it is not durable ({', '.join(off)} off): {remedy(off)}"
        return None

    async def _of_reads(self, standings: list[Standing], *, compares: bool) -> str | None:
        """Why reads fail or are wrong. `compares`: the log of a replica with the primary's. Raises Problem."""
        if compares and self._has_replica:
            ours, theirs = [(await it.row(_LOG, {}))[0] for it in (self._primary, self._reads)]
            if ours != theirs:
                return "QUERY_DATABASE_URL leads to another log: name a replica of the server of DATABASE_URL"
        # Those of another release are rebuilt: see its standing.
        built = [it.projection for it in standings if it.version == it.projection.version]
        columns = [column for projection in built for table in projection.plain_tables for column in table.columns]
        needed = {"tables": [it.table.fullname for it in columns], "columns": [it.name for it in columns]}
        unreadable = await self._reads.rows(_UNREADABLE, needed)
        if missing := [it for it, is_missing in unreadable if is_missing]:
            return f"the {', the '.join(missing)} is missing: run `orders replay`"
        if unreadable:
            names = ", ".join(it for it, _ in unreadable)
            return f"the service's role may not read {names}: {NEEDED_GRANTS}"
        return None

    async def _holders(self) -> list[str]:
        """The sessions that hold locks for which a projector or reader waits; empty when that is not known."""
        try:
            found = await self._primary.rows(_HOLDERS, {"seconds": HELD_SECONDS_MIN})
        except Problem:
            return []
        return [str(Holder(*row)) for row in found]


def _grouped(standings: list[Standing]) -> list[str]:
    """Why projections do not follow the log; a reason that several have is given once."""
    return [
        reason if len(names) == len(standings) else f"{', '.join(names)}: {reason}"
        for names, reason in shared((it.name, it.public_trouble) for it in standings)
    ]


def _with_remedy(problem: Problem, setting: str) -> str:
    if problem.detail != NOT_READ:
        return problem.detail
    return f"{problem.detail[:-1]}: check {setting}, and that the server runs; the log of the API says more"


def _connection(url: str) -> Reads:
    return Reads(url, connections_max=1, seconds_max=ANSWER_SECONDS_MAX)
