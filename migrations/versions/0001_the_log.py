"""The log with what is kept beside it, triggers that refuse to rewrite history, and the API keys."""

import re

from alembic import op
from alembic.util import CommandError

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

UP = r"""
CREATE SCHEMA IF NOT EXISTS log; -- env.py has made it, for the table of the revisions
COMMENT ON SCHEMA log IS 'the truth: all that happened, and what is kept beside it in the same transactions';
COMMENT ON TABLE log.orders_schema_version IS 'the last migration that this database has';
COMMENT ON COLUMN log.orders_schema_version.version_num IS 'its number';

CREATE TABLE log.events (
    position bigint NOT NULL,
    stream text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    type text NOT NULL,
    schema_version smallint NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    data json NOT NULL,
    metadata json NOT NULL,
    CONSTRAINT events_pkey PRIMARY KEY (position),
    CONSTRAINT one_event_per_version UNIQUE (stream, version),
    CONSTRAINT names_need_no_escaping CHECK (translate(stream || type, '"\', '') = stream || type),
    CONSTRAINT positions_start_at_one CHECK (position > 0),
    CONSTRAINT versions_start_at_one CHECK (version > 0)
);
CREATE INDEX product_details_idx ON log.events (stream, type, version)
    WHERE type IN ('ProductChanged', 'ProductRepriced', 'ProductDiscontinued');

CREATE TABLE log.head (
    one_row boolean NOT NULL DEFAULT true,
    log_uuid uuid NOT NULL,
    position bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    position_group bigint GENERATED ALWAYS AS (position / 1000) STORED NOT NULL,
    CONSTRAINT head_pkey PRIMARY KEY (one_row),
    CONSTRAINT head_one_row_check CHECK (one_row)
) WITH (fillfactor = 10);
CREATE INDEX head_position_group_idx ON log.head (position_group);
INSERT INTO log.head (log_uuid, position, recorded_at) VALUES (gen_random_uuid(), 0, now());

CREATE TABLE log.snapshots (
    stream text COLLATE "C" NOT NULL,
    shape bigint NOT NULL,
    version integer NOT NULL,
    state json NOT NULL,
    CONSTRAINT snapshots_pkey PRIMARY KEY (stream, shape)
) WITH (fillfactor = 50);

CREATE TABLE log.claims (
    claim text COLLATE "C" NOT NULL,
    stream text COLLATE "C" NOT NULL,
    CONSTRAINT claims_pkey PRIMARY KEY (claim)
);

CREATE TABLE log.idempotency_keys (
    caller bytea NOT NULL,
    key text COLLATE "C" NOT NULL,
    fingerprint bytea NOT NULL,
    status smallint NOT NULL,
    location text,
    version integer,
    position bigint NOT NULL,
    body bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (caller, key),
    CONSTRAINT kept_answers_are_successes CHECK (status BETWEEN 200 AND 299)
);
CREATE INDEX idempotency_keys_created_at_idx ON log.idempotency_keys (created_at);

CREATE TABLE log.skips (
    projection text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    stream text COLLATE "C" NOT NULL,
    version integer NOT NULL,
    reason text NOT NULL,
    skipped_by text NOT NULL,
    skipped_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT skips_pkey PRIMARY KEY (projection, position),
    CONSTRAINT a_skip_has_a_reason CHECK (reason <> '')
);

CREATE TABLE log.verifications (
    projection text COLLATE "C" NOT NULL,
    generation text NOT NULL,
    position bigint NOT NULL,
    differences bigint NOT NULL,
    verified_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT verifications_pkey PRIMARY KEY (projection)
);

CREATE SCHEMA access;
COMMENT ON SCHEMA access IS 'who may call the service';
CREATE TABLE access.api_keys (
    id text COLLATE "C" NOT NULL,
    account text COLLATE "C" NOT NULL,
    name text NOT NULL,
    sha256 bytea NOT NULL,
    role text NOT NULL,
    scopes text[] NOT NULL,
    user_id uuid,
    created_by text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    replaced_by text COLLATE "C",
    last_used_hour timestamptz,
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_sha256_key UNIQUE (sha256),
    CONSTRAINT a_customer_names_a_user CHECK (role <> 'customer' OR user_id IS NOT NULL)
);
CREATE INDEX api_keys_created_at_idx ON access.api_keys (created_at, id);
CREATE TABLE access.api_keys_version (
    one_row boolean NOT NULL DEFAULT true,
    version bigint NOT NULL,
    CONSTRAINT api_keys_version_pkey PRIMARY KEY (one_row),
    CONSTRAINT api_keys_version_one_row_check CHECK (one_row)
);
INSERT INTO access.api_keys_version (version) VALUES (0);
CREATE TABLE access.sign_in_links (
    sha256 bytea NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT sign_in_links_pkey PRIMARY KEY (sha256)
);

-- API processes read this one row every 1.5 s, and all keys only when it has changed.
CREATE FUNCTION access.count_change_of_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO access.api_keys_version AS counted (version) VALUES (1)
    ON CONFLICT (one_row) DO UPDATE SET version = counted.version + 1;
    RETURN NULL;
END
$$;
-- All columns but last_used_hour, which decides nothing.
CREATE TRIGGER count_change AFTER INSERT OR DELETE OR TRUNCATE OR UPDATE OF
    id, account, name, sha256, role, scopes, user_id, created_by, created_at, expires_at, revoked_at, replaced_by
    ON access.api_keys FOR EACH STATEMENT EXECUTE FUNCTION access.count_change_of_keys();
ALTER TABLE access.api_keys ENABLE ALWAYS TRIGGER count_change;

CREATE FUNCTION log.refuse_rewriting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'log.% is append-only: % refused', TG_TABLE_NAME, TG_OP
        USING ERRCODE = 'insufficient_privilege', HINT = 'Append a new event that corrects the old one.';
END
$$;
CREATE TRIGGER refuse_rewriting BEFORE UPDATE OR DELETE OR TRUNCATE ON log.events
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_rewriting();
REVOKE EXECUTE ON FUNCTION log.refuse_rewriting, access.count_change_of_keys FROM PUBLIC; -- triggers need no right
-- Also when a session replays changes as a replica, where ordinary triggers do not fire.
ALTER TABLE log.events ENABLE ALWAYS TRIGGER refuse_rewriting;
CREATE TRIGGER refuse_rewriting BEFORE UPDATE OR DELETE OR TRUNCATE ON log.skips
    FOR EACH STATEMENT EXECUTE FUNCTION log.refuse_rewriting();
ALTER TABLE log.skips ENABLE ALWAYS TRIGGER refuse_rewriting;
"""

# The only place in the log's database where a mirror of the read tables writes: where it is.
MIRRORS = """
CREATE SCHEMA mirrors;
CREATE TABLE mirrors.standings ( -- where the mirrors are; orders mirror URL --forget deletes the rows of one
    target text COLLATE "C" NOT NULL, -- the URL of the other database, without the password
    projection text COLLATE "C" NOT NULL, -- whose tables it has
    version integer NOT NULL, -- of the projection
    position bigint NOT NULL, -- of the last event that its tables contain
    parked integer NOT NULL, -- how many streams are held back there
    error text, -- why its last batch failed; null when it did not
    worker text NOT NULL, -- the process that keeps it, as host:pid
    updated_at timestamptz NOT NULL, -- when the position last moved
    seen_at timestamptz NOT NULL, -- when the mirror last looked at the log
    ended_at timestamptz, -- when the mirror ended in order; null: it should be at work
    rebuilt_to bigint, -- how far a rebuild is; null when there is none
    rebuild_began_at timestamptz, -- when that rebuild began
    CONSTRAINT standings_pkey PRIMARY KEY (target, projection)
) WITH (fillfactor = 50);
COMMENT ON SCHEMA mirrors IS 'copies of the read tables in other databases';
"""

# Operators' jobs, and imports. No projection and no decision reads these tables.
OPERATIONS = """
CREATE SCHEMA operations;
CREATE TABLE operations.jobs ( -- what operators asked of the workers; rows of finished jobs may be deleted
    id uuid NOT NULL, -- a UUIDv7: jobs are done in this order
    kind text NOT NULL, -- replay, verify, retry or skip
    projection text COLLATE "C" NOT NULL, -- of which projection
    stream text COLLATE "C", -- of a retry or skip: the parked stream; null for a group or for all
    at_position bigint, -- of a skip: the event that is to be skipped
    type text, -- of a group of parked streams: the type of the event, as `error` its cause
    error text, -- of a group of parked streams: why they are parked
    streams integer, -- how many streams the group had when the operator saw it
    reason text, -- why, as the operator wrote
    asked_by text NOT NULL, -- which operator
    asked_at timestamptz NOT NULL DEFAULT clock_timestamp(), -- when the operator asked
    state text NOT NULL DEFAULT 'waiting', -- waiting, running, done or failed
    worker text, -- the process that runs it, as host:pid
    attempts integer NOT NULL DEFAULT 0, -- how often a worker began it
    started_at timestamptz, -- when the last attempt began
    seen_at timestamptz, -- when its worker last told of it
    done_events bigint, -- how many events it has read
    of_events bigint, -- how many events it reads in all
    finished_at timestamptz, -- when it was done or failed
    result json, -- what came of it, or why it failed
    CONSTRAINT jobs_pkey PRIMARY KEY (id),
    CONSTRAINT a_kind_that_is_known CHECK (kind IN ('replay', 'verify', 'retry', 'skip')),
    CONSTRAINT a_state_that_is_known CHECK (state IN ('waiting', 'running', 'done', 'failed'))
) WITH (fillfactor = 50);
COMMENT ON SCHEMA operations IS 'what operators asked for, and what was imported';
CREATE INDEX jobs_open_idx ON operations.jobs (id) WHERE state IN ('waiting', 'running');

CREATE TABLE operations.imports ( -- a row for each run of `orders import`; rows may be deleted
    id uuid NOT NULL, -- a UUIDv7
    path text NOT NULL, -- the file or folder that was imported
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(), -- when it began
    progressed_at timestamptz NOT NULL DEFAULT clock_timestamp(), -- when the last row was done, as of a few seconds ago
    finished_at timestamptz, -- when it ended; null while it runs, or when it was killed
    bytes_read bigint NOT NULL DEFAULT 0, -- how many bytes of the files were read
    bytes_total bigint NOT NULL, -- how many bytes the files have
    accepted bigint NOT NULL DEFAULT 0, -- how many rows were accepted
    already_there bigint NOT NULL DEFAULT 0, -- how many rows were known already
    events bigint NOT NULL DEFAULT 0, -- how many events were appended
    refused json NOT NULL DEFAULT '{}', -- the number of refused rows by code
    first_rejects json NOT NULL DEFAULT '[]', -- the first refused rows, with their reasons
    error text, -- why it stopped early; null when it did not
    CONSTRAINT imports_pkey PRIMARY KEY (id)
);
"""

# A role is the cluster's, not the database's, and not everyone who migrates may make one.
ROLE = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'orders_writer') THEN
        CREATE ROLE orders_writer NOLOGIN;
    END IF;
    GRANT USAGE ON SCHEMA log TO orders_writer;
    GRANT SELECT, INSERT ON log.events TO orders_writer;
    GRANT SELECT, UPDATE ON log.head TO orders_writer;
    GRANT SELECT, INSERT, UPDATE, DELETE ON log.snapshots TO orders_writer;
    GRANT SELECT, INSERT, DELETE ON log.claims, log.idempotency_keys TO orders_writer;
    GRANT USAGE ON SCHEMA access, operations TO orders_writer;
    GRANT SELECT, INSERT ON access.api_keys TO orders_writer;
    GRANT UPDATE (expires_at, revoked_at, replaced_by, last_used_hour) ON access.api_keys TO orders_writer;
    GRANT SELECT, INSERT, UPDATE ON access.api_keys_version TO orders_writer;
    GRANT SELECT, INSERT, DELETE ON access.sign_in_links TO orders_writer;
    GRANT SELECT, INSERT, UPDATE ON operations.jobs, operations.imports TO orders_writer;
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'the role orders_writer was not made: %', SQLERRM;
    WHEN unique_violation OR duplicate_object THEN
        NULL;
END
$$
"""


# A table or a column, and the comment behind it.
_COMMENTED = re.compile(r"^(?:CREATE TABLE|   ) (\S+) .*-- (.+)$", re.MULTILINE)


def upgrade() -> None:
    op.execute(UP)
    for statements in (MIRRORS, OPERATIONS):
        op.execute(statements)
        table = ""
        for name, comment in _COMMENTED.findall(statements):
            table = name if "." in name else table
            what = f"TABLE {table}" if name == table else f"COLUMN {table}.{name}"
            op.execute(f"COMMENT ON {what} IS '{comment}'")
    op.execute(ROLE)


def downgrade() -> None:
    raise CommandError("the log is the truth: no migration deletes it")
