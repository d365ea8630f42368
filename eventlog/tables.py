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
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("stream", _key, nullable=False),
    Column("version", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("schema_version", SmallInteger, nullable=False),
    Column("occurred_at", _time, nullable=False, comment="when it happened"),
    Column("recorded_at", _time, nullable=False, comment="when it was appended; never decreases with position"),
    # JSON, not JSONB: the bytes stay as they were written, and neither the append nor a replay pays for a conversion.
    Column("data", JSON, nullable=False),
    Column("metadata", JSON, nullable=False),
    UniqueConstraint("stream", "version", name="one_event_per_version"),
    CheckConstraint("translate(stream || type, '\"\\', '') = stream || type", name="names_need_no_escaping"),
    CheckConstraint("position > 0", name="positions_start_at_one"),
    CheckConstraint("version > 0", name="versions_start_at_one"),
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
    ),
    Column("log_uuid", Uuid, nullable=False, comment="tells this log from every other, also after a restore"),
    Column("position", BigInteger, nullable=False),
    Column("recorded_at", _time, nullable=False),
    position_group(),
)
Index("head_position_group_idx", head.c.position_group)

# The state after a stream's first `version` events: bounds the cost of loading a long stream. Disposable. Two releases
# whose states have different fields keep a row each; a stream has two rows at most.
snapshots = Table(
    "snapshots",
    metadata,
    Column("stream", _key, primary_key=True),
    Column(
        "shape",
        BigInteger,
        primary_key=True,
        autoincrement=False,
        comment="digest of the fields of the state; a release reads only its own",
    ),
    Column("version", Integer, nullable=False),
    Column("state", JSON, nullable=False),
)

# Who has an e-mail address, a SKU, an external_id. Follows from the events; kept for its unique key.
claims = Table(
    "claims",
    metadata,
    Column("claim", _key, primary_key=True, comment="kind:value"),
    Column("stream", _key, nullable=False),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("caller", LargeBinary, primary_key=True, comment="whose key it is"),
    Column("key", _key, primary_key=True),
    Column("fingerprint", LargeBinary, nullable=False, comment="hash of method, path and body"),
    Column("status", SmallInteger, nullable=False),
    Column("location", Text),
    Column("version", Integer),
    Column("position", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("created_at", _time, nullable=False, server_default=text("now()")),
    Index("idempotency_keys_created_at_idx", "created_at"),
)

skips = Table(
    "skips",
    metadata,
    Column("projection", _key, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("stream", _key, nullable=False),
    Column("version", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("skipped_by", Text, nullable=False),
    Column("skipped_at", _time, nullable=False, server_default=text("now()")),
    CheckConstraint("reason <> ''", name="a_skip_has_a_reason"),
    comment="events that an operator had a projection leave out; every replay leaves them out too",
)

verifications = Table(
    "verifications",
    metadata,
    Column("projection", _key, primary_key=True),
    Column("generation", Text, nullable=False, comment="the build of the tables that were compared"),
    Column("position", BigInteger, nullable=False),
    Column("differences", BigInteger, nullable=False),
    Column("verified_at", _time, nullable=False, server_default=text("now()")),
    comment="the last verify of each projection",
)
