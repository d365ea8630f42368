"""Parked streams beside the read tables, and beside the log the events that an operator had them skip."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# An operator's decision is kept for good, as the log is: a migration taken back and made again finds it.
SKIPS = """
CREATE TABLE IF NOT EXISTS log.skips (
    log_id smallint NOT NULL DEFAULT 0,
    position bigint NOT NULL,
    stream text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    reason text NOT NULL,
    skipped_by text NOT NULL,
    skipped_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT skips_pkey PRIMARY KEY (log_id, position),
    CONSTRAINT a_skip_has_a_reason CHECK (reason <> '')
);
COMMENT ON COLUMN log.skips.position IS 'of the event that the read tables are to do without';

CREATE OR REPLACE FUNCTION log.refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'log.% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege', HINT = 'Append a new event that corrects the old one.';
END
$$;
CREATE OR REPLACE TRIGGER refuse_rewriting BEFORE UPDATE OR DELETE OR TRUNCATE ON log.skips
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_rewriting();
ALTER TABLE log.skips ENABLE ALWAYS TRIGGER refuse_rewriting;
"""

# As readmodel/tables.py has them; tests/migrations/test_migrations.py compares.
PARKED = """
CREATE TABLE read.parked (
    stream text NOT NULL,
    position bigint NOT NULL,
    version integer NOT NULL,
    type text NOT NULL,
    error text NOT NULL,
    behind text,
    skipped boolean NOT NULL,
    parked_at timestamptz NOT NULL,
    CONSTRAINT parked_pkey PRIMARY KEY (stream)
);
COMMENT ON COLUMN read.parked.position IS 'of its first event that the tables are without, like version and type';
COMMENT ON COLUMN read.parked.behind IS 'the stream whose row this one has to wait for';
COMMENT ON COLUMN read.parked.skipped IS 'its first event was skipped: nothing is to come of the rest either';

ALTER TABLE read.checkpoint ADD COLUMN parked integer NOT NULL DEFAULT 0;
ALTER TABLE read.checkpoint ALTER COLUMN parked DROP DEFAULT;
COMMENT ON COLUMN read.checkpoint.parked IS 'how many streams are in the table of that name';
"""


def upgrade() -> None:
    op.execute(SKIPS)
    op.execute(PARKED)


def downgrade() -> None:
    op.execute("DROP TABLE read.parked; ALTER TABLE read.checkpoint DROP COLUMN parked")
