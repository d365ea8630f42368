"""The head and the checkpoint are one row each; statements find its newest version beside all that a snapshot keeps."""

import time
from collections.abc import Iterator

import psycopg
import pytest

from console.activity import ENDS
from eventlog import moments, pages
from projector.connecting import connect
from projector.loop import Loop
from projector.mirror.standings import LISTED
from projector.projections.shop import SHOP
from projector.status import LOG, standing_statement
from projector.writer import PostgresWriter
from query.database import Reads
from tests.builders import Writing
from tests.query.statements import every_statement, listings

# As many as a busy worker makes in a minute, with the last group almost full: the old versions in the index beside the
# newest one are then as many as they can be.
VERSIONS = 4_950
BATCHES = 20
# A few pages of the table for each statement. To read through the old versions would take hundreds.
PAGES_MAX = 10
MOVES = f"""
DO $$ BEGIN
    FOR number IN 1..{VERSIONS} LOOP
        UPDATE {{table}} SET position = position + 1
        WHERE ctid = (SELECT ctid FROM {{table}} ORDER BY position_group DESC LIMIT 1);
        COMMIT;
    END LOOP;
END $$
"""
READ = """
SELECT sum(heap_blks_read + heap_blks_hit)::int FROM pg_statio_user_tables
WHERE schemaname || '.' || relname = ANY(%s)
"""
TABLES = ["log.head", "shop.checkpoint"]


@pytest.fixture
def busy_database(database_url: str) -> Iterator[str]:
    """A database in which the head and the checkpoint have moved for long beside an open snapshot.

    The log has a gap where they have moved, which nothing here looks at.
    """
    with psycopg.connect(database_url) as report, psycopg.connect(database_url, autocommit=True) as session:
        report.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        report.execute("SELECT count(*) FROM log.events")
        session.execute("SET enable_seqscan = off")  # the table is small when this begins
        for table in TABLES:
            session.execute(MOVES.format(table=table).encode())
        for table in TABLES:
            session.execute(f"VACUUM ANALYZE {table}".encode())  # as autovacuum does once a minute
        session.execute("SELECT pg_stat_force_next_flush()")
        yield database_url


def looks() -> Iterator[tuple[bytes, dict[str, object]]]:
    """Statements that tell where the head and the checkpoint are, for routes, pages and commands."""
    log_page: dict[str, object] = {"after": 0, "limit": 1}
    yield pages.HEAD, {}
    yield pages.LOG_PAGE, log_page
    yield pages.STREAM_PAGE, log_page | {"stream": "order-1"}
    yield pages.ACTS_PAGE, {"before": "~", "limit": 1}
    for by, wanted in (("now", 0), ("position", 1), ("as_of", "2026-01-01")):
        yield moments.WHOLE[by], {"stream": "order-1", "projection": "shop", by: wanted}
    yield moments.POSITION, {"as_of": "2026-01-01"}
    yield standing_statement(SHOP), {}
    yield LOG, {}
    yield LISTED, {}
    yield ENDS, {}


def pages_read(database_url: str) -> int:
    """How many pages of the two tables were read. Sessions that have just ended may still report theirs."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        pages = -1
        while True:
            ((now,),) = connection.execute(READ, [TABLES]).fetchall()
            if now == pages:
                return int(now)
            pages = now
            time.sleep(0.5)


def test_no_command_and_no_batch_of_the_worker_reads_through_old_versions(busy_database: str) -> None:
    before = pages_read(busy_database)
    with Writing(busy_database) as writing, connect(busy_database) as projecting:
        ada, loop = writing.user(), Loop(SHOP)
        for number in range(BATCHES):
            writing.product(sku=f"TEA-{number}")
            assert loop.project(projecting, 100).events
            PostgresWriter(SHOP).beat(projecting, 0)
        assert ada
    # For each batch: take the head, append; look (twice two rows), lock, move, look for the beat, beat.
    assert pages_read(busy_database) - before < BATCHES * 10 * PAGES_MAX


def test_no_look_at_the_head_reads_through_old_versions(busy_database: str) -> None:
    before = pages_read(busy_database)
    with psycopg.connect(busy_database) as reader:
        for statement, parameters in looks():
            reader.execute(statement, parameters)
    assert pages_read(busy_database) - before < len(list(looks())) * PAGES_MAX


def test_no_read_passes_over_old_versions(busy_database: str) -> None:
    reads = Reads(busy_database)
    statements = every_statement(reads, listings(reads))[::20]
    before = pages_read(busy_database)
    with psycopg.connect(busy_database) as reader:
        for sent in statements:
            reader.execute(sent.with_values({}))
    assert pages_read(busy_database) - before < len(statements) * PAGES_MAX
