"""The tables of API keys and of sign-in links. They hold a digest of each secret, never the secret."""

from sqlalchemy import ARRAY, CheckConstraint, Column, DateTime, LargeBinary, MetaData, Table, Text, Uuid, text

SCHEMA = "access"

metadata = MetaData(schema=SCHEMA)

_time = DateTime(timezone=True)
_id = Text(collation="C")

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", _id, primary_key=True),
    Column("account", _id, nullable=False, comment="the id of the first key of its family"),
    Column("name", Text, nullable=False),
    Column("sha256", LargeBinary, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("user_id", Uuid, comment="the user that a customer is"),
    Column("created_by", Text, nullable=False),
    Column("created_at", _time, nullable=False, server_default=text("now()")),
    Column("expires_at", _time),
    Column("revoked_at", _time),
    Column("replaced_by", _id),
    Column("last_used_hour", _time),
    CheckConstraint("role <> 'customer' OR user_id IS NOT NULL", name="a_customer_names_a_user"),
)

sign_in_links = Table(
    "sign_in_links",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    Column("expires_at", _time, nullable=False),
)
