"""The tables that GET requests are answered from. Replay drops and rebuilds them; nothing here is the truth.

They live in a schema of their own, so that a replay can build them beside the ones that serve and then change places.
Money is NUMERIC without a scale: PostgreSQL keeps the decimals a value was written with, so "2.50" stays "2.50".
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
)

SCHEMA = "read"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "ck": "%(table_name)s_%(constraint_name)s",
    },
)

_time = DateTime(timezone=True)

# One row: how far the tables have come. Every select reads it first: it carries the Sync-Token, and a swap that holds it
# holds all readers (see projector/replay.py).
checkpoint = Table(
    "checkpoint",
    metadata,
    Column("name", Text, primary_key=True),
    Column("position", BigInteger, CheckConstraint("position >= 0", name="position_check"), nullable=False),
    Column("updated_at", _time, nullable=False, comment="when the position last moved"),
    Column("seen_at", _time, nullable=False, comment="when a worker last looked at the log"),
    Column("worker", Text, comment="the process that last looked, as host:pid"),
    Column("error", Text, comment="why the last batch failed; null when it did not"),
)

users = Table(
    "users",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("external_id", Text),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", _time, nullable=False),
    Column("updated_at", _time, nullable=False),
    Column("deleted_at", _time, comment="a deleted user stays, because orders refer to it"),
)

products = Table(
    "products",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("price", Numeric, CheckConstraint("price >= 0", name="price_check"), nullable=False),
    Column("currency", Text, nullable=False),
    Column("stock", BigInteger, CheckConstraint("stock >= 0", name="stock_check"), comment="null: not kept in stock"),
    Column("discontinued", Boolean, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", _time, nullable=False),
    Column("updated_at", _time, nullable=False),
)

orders = Table(
    "orders",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("external_id", Text),
    Column("user_id", Uuid, ForeignKey(users.c.id), nullable=False),
    Column(
        "status",
        Text,
        CheckConstraint("status IN ('placed', 'partially_cancelled', 'cancelled')", name="status_check"),
        nullable=False,
    ),
    Column("currency", Text, nullable=False),
    Column("total", Numeric, nullable=False),
    Column("cancelled_total", Numeric, nullable=False),
    Column("note", Text),
    Column("cancel_reason", Text),
    Column("placed_at", _time, nullable=False),
    Column("cancelled_at", _time),
    Column("version", Integer, nullable=False),
    Column("updated_at", _time, nullable=False),
    CheckConstraint("cancelled_total BETWEEN 0 AND total", name="cancelled_total_check"),
)

order_items = Table(
    "order_items",
    metadata,
    Column("order_id", Uuid, ForeignKey(orders.c.id), primary_key=True),
    Column("line", SmallInteger, primary_key=True),
    Column("product_id", Uuid, ForeignKey(products.c.id), nullable=False),
    Column("sku", Text, nullable=False, comment="as it was when the order was placed, like name and unit_price"),
    Column("name", Text, nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("cancelled_quantity", Integer, nullable=False),
    Column("unit_price", Numeric, nullable=False),
    Column("amount", Numeric, nullable=False),
    CheckConstraint("cancelled_quantity BETWEEN 0 AND quantity", name="cancelled_quantity_check"),
)

# An index for every documented filter and sort. Uniqueness is the write side's affair: here a deleted user's address
# may stand beside the new user's who took it.
Index(None, func.lower(users.c.email)).name = "users_email_idx"
