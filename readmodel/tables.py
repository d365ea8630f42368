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
    collate,
    func,
    literal_column,
)

SCHEMA = "read"

# The advisory lock that a replay or verify holds while it runs.
REBUILD_LOCK = 0x6F7264

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

# One row: how far the tables have come. Every select reads it first: it carries the Sync-Token, and a swap that holds
# it holds all readers (see projector/replay.py).
checkpoint = Table(
    "checkpoint",
    metadata,
    Column("name", Text, primary_key=True),
    Column("position", BigInteger, CheckConstraint("position >= 0", name="position_check"), nullable=False),
    Column("updated_at", _time, nullable=False, comment="when the position last moved"),
    Column("seen_at", _time, nullable=False, comment="when a worker last looked at the log"),
    Column("worker", Text, comment="the process that last looked, as host:pid"),
    Column("error", Text, comment="why the last batch failed; null when it did not"),
    Column("parked", Integer, nullable=False, comment="how many streams are in the table of that name"),
)

# The streams whose events the tables are without, from one that could not be projected on.
parked = Table(
    "parked",
    metadata,
    Column("stream", Text, primary_key=True),
    Column(
        "position",
        BigInteger,
        nullable=False,
        comment="of its first event that the tables are without, like version and type",
    ),
    Column("version", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("behind", Text, comment="the stream whose row this one has to wait for"),
    Column(
        "skipped",
        Boolean,
        nullable=False,
        comment="its first event was skipped: nothing is to come of the rest either",
    ),
    Column("parked_at", _time, nullable=False),
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

# The indexes serve every documented filter and sort, and are as few as will do: each costs the projection with every
# row. Lists are read in keyset order, so an index ends with the id. Uniqueness is the write side's affair: here a
# deleted user's address may stand beside the new user's who took it. tests/query/test_plans.py tests the plans.
#
# Left without an index of its own, on purpose:
# - an order's other filters beside the one that leads: the planner either walks the sort's index until a page is full,
#   or fetches and sorts what the rarest filter leaves. product_id is of this kind, because the order's time is not in
#   order_items; a user's orders by total are, too. At k matches among n orders that reads at most the smaller of k and
#   page * n / k rows.
# - products.in_stock: `stock` changes with every order, and an index on it would turn each of those updates from one in
#   place (HOT) into one that touches all indexes. A catalogue is walked instead: it does not grow with the orders.
Index("users_created_at_idx", users.c.created_at, users.c.id, postgresql_where=users.c.deleted_at.is_(None))
# Unicode's case, whatever the database's own collation: lower() in "C" knows ASCII only. Needs PostgreSQL 17.
Index("users_email_idx", func.lower(collate(users.c.email, "pg_c_utf8")))
Index("users_external_id_idx", users.c.external_id, postgresql_where=users.c.external_id.is_not(None))

Index("products_sku_idx", products.c.sku, products.c.id)
Index("products_name_idx", products.c.name, products.c.id)
Index("products_price_idx", products.c.price, products.c.id)
Index("products_discontinued_idx", products.c.sku, products.c.id, postgresql_where=products.c.discontinued)

Index("orders_placed_at_idx", orders.c.placed_at, orders.c.id)
Index("orders_total_idx", orders.c.total, orders.c.id)
Index("orders_user_id_idx", orders.c.user_id, orders.c.placed_at, orders.c.id)
Index("orders_external_id_idx", orders.c.external_id, postgresql_where=orders.c.external_id.is_not(None))

# Most orders stay as they were placed: the two indexes above serve those. These hold the few others.
_was_cancelled = orders.c.status != literal_column("'placed'")
Index(
    "orders_cancelled_placed_at_idx", orders.c.status, orders.c.placed_at, orders.c.id, postgresql_where=_was_cancelled
)
Index("orders_cancelled_total_idx", orders.c.status, orders.c.total, orders.c.id, postgresql_where=_was_cancelled)

Index("order_items_product_id_idx", order_items.c.product_id, order_items.c.order_id)
