"""The one table that cannot be rebuilt, and what is kept beside it in the same transactions."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import JSON

from database.position_group import position_group

SCHEMA = "log"

metadata = MetaData(schema=SCHEMA)

_time = DateTime(timezone=True)
# The rare events of a product, which change something else than its stock. A new type of that sort belongs here.
PRODUCT_DETAILS = ("ProductChanged", "ProductRepriced", "ProductDiscontinued")
# Keys compare byte by byte: faster than any language's rules, and case counts.
_key = Text(collation="C")

events = Table(
    "events",
    metadata,
    Column(
        "position",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="number in the log: 1, 2, 3, without holes",
    ),
    Column("stream", _key, nullable=False, comment="what it happened to: kind and id, such as order-0190..."),
    Column("version", Integer, nullable=False, comment="number in the stream: 1, 2, 3"),
    Column("type", Text, nullable=False, comment="such as OrderPlaced; docs/events.md has all types and their data"),
    Column("schema_version", SmallInteger, nullable=False, comment="of the type: how data was written"),
    Column("occurred_at", _time, nullable=False, comment="when it happened"),
    Column("recorded_at", _time, nullable=False, comment="when it was appended; never decreases with position"),
    # JSON, not JSONB: the bytes stay as they were written, and neither the append nor a replay pays for a conversion.
    Column("data", JSON, nullable=False, comment="what happened, as the type says"),
    Column("metadata", JSON, nullable=False, comment="actor, command_id, request_id, and where an import read it"),
    UniqueConstraint("stream", "version", name="one_event_per_version"),
    CheckConstraint("translate(stream || type, '\"\\', '') = stream || type", name="names_need_no_escaping"),
    CheckConstraint("position > 0", name="positions_start_at_one"),
    CheckConstraint("version > 0", name="versions_start_at_one"),
    comment="all events, in the order of their commits: never changed, never deleted",
)

# Finds who set a product's name or price among a million stock events. Other events are not in it and cost nothing.
Index(
    "product_details_idx",
    events.c.stream,
    events.c.type,
    events.c.version,
    postgresql_where=events.c.type.in_([literal_column(f"'{name}'") for name in PRODUCT_DETAILS]),
)

# One row a log. Whoever appends holds it, so positions are handed out in commit order, without holes.
head = Table(
    "head",
    metadata,
    Column(
        "one_row",
        Boolean,
        CheckConstraint("one_row", name="head_one_row_check"),
        primary_key=True,
        server_default=text("true"),
        comment="true: the table has one row",
    ),
    Column("log_uuid", Uuid, nullable=False, comment="tells this log from every other, also after a restore"),
    Column("position", BigInteger, nullable=False, comment="of the last event; 0 when there is none"),
    Column("recorded_at", _time, nullable=False, comment="when the last event was appended"),
    position_group(),
    comment="one row: the end of the log, which whoever appends locks",
)
Index("head_position_group_idx", head.c.position_group)

# The state after a stream's first `version` events: bounds the cost of loading a long stream. Disposable. Two releases
# whose states have different fields keep a row each; a stream has two rows at most.
snapshots = Table(
    "snapshots",
    metadata,
    Column("stream", _key, primary_key=True, comment="whose state it is"),
    Column(
        "shape",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="digest of the fields of the state; a release reads only its own",
    ),
    Column("version", Integer, nullable=False, comment="how many events of the stream it contains"),
    Column("state", JSON, nullable=False, comment="what the write side decides on"),
    comment="states of long streams; disposable, because they follow from the events",
)

# Who has an e-mail address, a SKU, an external_id. Follows from the events; kept for its unique key.
claims = Table(
    "claims",
    metadata,
    Column("claim", _key, primary_key=True, comment="kind:value, such as sku:tea-assam"),
    Column("stream", _key, nullable=False, comment="who has it"),
    comment="who has which e-mail address, SKU or external_id: each is unique",
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("caller", LargeBinary, primary_key=True, comment="whose key it is"),
    Column("key", _key, primary_key=True, comment="the Idempotency-Key as it was sent"),
    Column("fingerprint", LargeBinary, nullable=False, comment="hash of method, path and body"),
    Column("status", SmallInteger, nullable=False, comment="of the answer, as all columns below"),
    Column("location", Text, comment="its Location"),
    Column("version", Integer, comment="its ETag"),
    Column("position", BigInteger, nullable=False, comment="its Sync-Token"),
    Column("body", LargeBinary, nullable=False, comment="its body, byte by byte"),
    Column(
        "created_at", _time, nullable=False, server_default=text("now()"), comment="writers delete it 35 days later"
    ),
    Index("idempotency_keys_created_at_idx", "created_at"),
    comment="answers to commands with an Idempotency-Key, for when they are sent again",
)

skips = Table(
    "skips",
    metadata,
    Column("projection", _key, primary_key=True, comment="which projection leaves it out"),
    Column("position", BigInteger, primary_key=True, autoincrement=False, comment="of the event"),
    Column("stream", _key, nullable=False, comment="of the event"),
    Column("version", Integer, nullable=False, comment="of the event in its stream"),
    Column("reason", Text, nullable=False, comment="why, as the operator wrote"),
    Column("skipped_by", Text, nullable=False, comment="which operator"),
    Column("skipped_at", _time, nullable=False, server_default=text("now()"), comment="when"),
    CheckConstraint("reason <> ''", name="a_skip_has_a_reason"),
    comment="events that an operator had a projection leave out; every replay leaves them out too",
)

verifications = Table(
    "verifications",
    metadata,
    Column("projection", _key, primary_key=True, comment="whose tables were compared with the log"),
    Column("generation", Text, nullable=False, comment="the build of the tables that were compared"),
    Column("position", BigInteger, nullable=False, comment="up to which event"),
    Column("differences", BigInteger, nullable=False, comment="values that differed; 0: the tables are right"),
    Column("verified_at", _time, nullable=False, server_default=text("now()"), comment="when it ended"),
    comment="the last verify of each projection",
)
