"""The one table that cannot be rebuilt, and what is kept beside it in the same transactions."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSON

from database.position_group import position_group

SCHEMA = "log"

metadata = sa.MetaData(schema=SCHEMA)

_time, _now = sa.DateTime(timezone=True), sa.text("now()")
# The rare events of a product, which change something else than its stock. A new type of that sort belongs here.
PRODUCT_DETAILS = ("ProductChanged", "ProductRepriced", "ProductDiscontinued")
# Keys compare byte by byte: faster than any language's rules, and case counts.
_key = sa.Text(collation="C")

events = sa.Table(
    "events",
    metadata,
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False, comment="1, 2, 3, without holes"),
    sa.Column("stream", _key, nullable=False, comment="what it happened to: kind and id, such as order-0190..."),
    sa.Column("version", sa.Integer, nullable=False, comment="number in the stream: 1, 2, 3"),
    sa.Column("type", sa.Text, nullable=False, comment="such as OrderPlaced; docs/events.md has all types"),
    sa.Column("schema_version", sa.SmallInteger, nullable=False, comment="of the type: how data was written"),
    sa.Column("occurred_at", _time, nullable=False, comment="when it happened"),
    sa.Column("recorded_at", _time, nullable=False, comment="when it was appended; never decreases with position"),
    # JSON, not JSONB: the bytes stay as they were written, and neither the append nor a replay pays for a conversion.
    sa.Column("data", JSON, nullable=False, comment="what happened, as the type says"),
    sa.Column("metadata", JSON, nullable=False, comment="actor, command_id, request_id, and where an import read it"),
    sa.UniqueConstraint("stream", "version", name="one_event_per_version"),
    sa.CheckConstraint("translate(stream || type, '\"\\', '') = stream || type", name="names_need_no_escaping"),
    sa.CheckConstraint("position > 0", name="positions_start_at_one"),
    sa.CheckConstraint("version > 0", name="versions_start_at_one"),
    comment="all events, in the order of their commits: never changed, never deleted",
)

# Finds who set a product's name or price among a million stock events. Other events are not in it and cost nothing.
sa.Index(
    "product_details_idx",
    events.c.stream,
    events.c.type,
    events.c.version,
    postgresql_where=events.c.type.in_([sa.literal_column(f"'{name}'") for name in PRODUCT_DETAILS]),
)

# One row a log. A writer that appends locks it, so positions are given out in commit order, without holes.
head = sa.Table(
    "head",
    metadata,
    sa.Column("one_row", sa.Boolean, primary_key=True, server_default=sa.text("true"), comment="true: it has one row"),
    sa.Column("log_uuid", sa.Uuid, nullable=False, comment="tells this log from every other, also after a restore"),
    sa.Column("position", sa.BigInteger, nullable=False, comment="of the last event; 0 when there is none"),
    sa.Column("recorded_at", _time, nullable=False, comment="when the last event was appended"),
    position_group(),
    sa.CheckConstraint("one_row", name="head_one_row_check"),
    comment="one row: the end of the log; each writer locks it",
)
sa.Index("head_position_group_idx", head.c.position_group)

# They bound the cost of loading a long stream. Two releases whose states have different fields keep a row each.
snapshots = sa.Table(
    "snapshots",
    metadata,
    sa.Column("stream", _key, primary_key=True, comment="whose state it is"),
    sa.Column("shape", sa.BigInteger, primary_key=True, comment="digest of its fields: a release reads its own"),
    sa.Column("version", sa.Integer, nullable=False, comment="how many events of the stream it contains"),
    sa.Column("state", JSON, nullable=False, comment="what the write side decides on"),
    comment="states of long streams; disposable, because they follow from the events",
)

# The owners of e-mail addresses, SKUs and external_ids. Follows from the events; kept for its unique key.
claims = sa.Table(
    "claims",
    metadata,
    sa.Column("claim", _key, primary_key=True, comment="kind:value, such as sku:tea-assam"),
    sa.Column("stream", _key, nullable=False, comment="who has it"),
    comment="who has which e-mail address, SKU or external_id: each is unique",
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("caller", sa.LargeBinary, primary_key=True, comment="whose key it is"),
    sa.Column("key", _key, primary_key=True, comment="the Idempotency-Key as it was sent"),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False, comment="hash of method, path and body"),
    sa.Column("status", sa.SmallInteger, nullable=False, comment="of the answer, as all columns below"),
    sa.Column("location", sa.Text, comment="its Location"),
    sa.Column("version", sa.Integer, comment="its ETag"),
    sa.Column("position", sa.BigInteger, nullable=False, comment="its Sync-Token"),
    sa.Column("body", sa.LargeBinary, nullable=False, comment="its body, byte by byte"),
    sa.Column("created_at", _time, nullable=False, server_default=_now, comment="writers delete it 35 days later"),
    sa.CheckConstraint("status BETWEEN 200 AND 299", name="kept_answers_are_successes"),
    sa.Index("idempotency_keys_created_at_idx", "created_at"),
    comment="answers to commands with an Idempotency-Key, for when they are sent again",
)

skips = sa.Table(
    "skips",
    metadata,
    sa.Column("projection", _key, primary_key=True, comment="which projection leaves it out"),
    sa.Column("position", sa.BigInteger, primary_key=True, comment="of the event"),
    sa.Column("stream", _key, nullable=False, comment="of the event"),
    sa.Column("version", sa.Integer, nullable=False, comment="of the event in its stream"),
    sa.Column("reason", sa.Text, nullable=False, comment="why, as the operator wrote"),
    sa.Column("skipped_by", sa.Text, nullable=False, comment="which operator"),
    sa.Column("skipped_at", _time, nullable=False, server_default=_now, comment="when"),
    sa.CheckConstraint("reason <> ''", name="a_skip_has_a_reason"),
    comment="events that an operator had a projection leave out; every replay leaves them out too",
)

verifications = sa.Table(
    "verifications",
    metadata,
    sa.Column("projection", _key, primary_key=True, comment="whose tables were compared with the log"),
    sa.Column("generation", sa.Text, nullable=False, comment="the build of the tables that were compared"),
    sa.Column("position", sa.BigInteger, nullable=False, comment="up to which event"),
    sa.Column("differences", sa.BigInteger, nullable=False, comment="values that differed; 0: the tables are right"),
    sa.Column("verified_at", _time, nullable=False, server_default=_now, comment="when it ended"),
    comment="the last verify of each projection",
)
