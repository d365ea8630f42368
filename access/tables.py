"""The tables of API keys, their version and sign-in links. They hold a digest of each secret, never the secret."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    text,
)

SCHEMA = "access"

metadata = MetaData(schema=SCHEMA)

_time = DateTime(timezone=True)
_id = Text(collation="C")

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", _id, primary_key=True, comment="the eight characters behind ok_live_ in the key"),
    Column("account", _id, nullable=False, comment="the id of the first key of its family"),
    Column("name", Text, nullable=False, comment="what it is for"),
    Column("sha256", LargeBinary, nullable=False, unique=True, comment="digest of the key, which is not kept"),
    Column("role", Text, nullable=False, comment="customer, staff, operator or integration"),
    Column("scopes", ARRAY(Text), nullable=False, comment="what it may do; docs/security.md lists the scopes"),
    Column("user_id", Uuid, comment="the user that a customer is"),
    Column("created_by", Text, nullable=False, comment="key, token or user of the command line"),
    Column("created_at", _time, nullable=False, server_default=text("now()"), comment="when it was made"),
    Column("expires_at", _time, comment="it is refused from then on; null: never"),
    Column("revoked_at", _time, comment="when it was revoked"),
    Column("replaced_by", _id, comment="the id of the key that a rotation made in its place"),
    Column("last_used_hour", _time, comment="the hour in which it was used last; written once an hour at most"),
    CheckConstraint("role <> 'customer' OR user_id IS NOT NULL", name="a_customer_names_a_user"),
    Index("api_keys_created_at_idx", "created_at", "id"),
    comment="API keys: who may call, and what for",
)

api_keys_version = Table(
    "api_keys_version",
    metadata,
    Column("one_row", Boolean, primary_key=True, server_default=text("true"), comment="always true: there is one row"),
    Column("version", BigInteger, nullable=False, comment="raised by each change of a key but that of last_used_hour"),
    CheckConstraint("one_row", name="api_keys_version_one_row_check"),
    comment="how often the API keys have changed: processes read them again when it differs",
)

sign_in_links = Table(
    "sign_in_links",
    metadata,
    Column("sha256", LargeBinary, primary_key=True, comment="digest of the token in the link"),
    Column("expires_at", _time, nullable=False, comment="the link no longer works from then on"),
    comment="links that sign a browser in to the console once",
)
