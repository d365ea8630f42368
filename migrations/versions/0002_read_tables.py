"""The read tables, empty, with the one checkpoint that says so."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# As readmodel/tables.py has them; tests/migrations/test_migrations.py compares.
UP = """
CREATE SCHEMA read;

CREATE TABLE read.checkpoint (
    name text NOT NULL,
    position bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    worker text,
    error text,
    CONSTRAINT checkpoint_pkey PRIMARY KEY (name),
    CONSTRAINT checkpoint_position_check CHECK (position >= 0)
);
COMMENT ON COLUMN read.checkpoint.updated_at IS 'when the position last moved';
COMMENT ON COLUMN read.checkpoint.seen_at IS 'when a worker last looked at the log';
COMMENT ON COLUMN read.checkpoint.worker IS 'the process that last looked, as host:pid';
COMMENT ON COLUMN read.checkpoint.error IS 'why the last batch failed; null when it did not';
INSERT INTO read.checkpoint (name, position, updated_at, seen_at) VALUES ('read_tables', 0, now(), now());

CREATE TABLE read.users (
    id uuid NOT NULL,
    external_id text,
    name text NOT NULL,
    email text NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz,
    CONSTRAINT users_pkey PRIMARY KEY (id)
);
COMMENT ON COLUMN read.users.deleted_at IS 'a deleted user stays, because orders refer to it';
CREATE INDEX users_created_at_idx ON read.users (created_at, id) WHERE deleted_at IS NULL;
CREATE INDEX users_email_idx ON read.users (lower(email COLLATE "pg_c_utf8"));
CREATE INDEX users_external_id_idx ON read.users (external_id) WHERE external_id IS NOT NULL;

CREATE TABLE read.products (
    id uuid NOT NULL,
    sku text NOT NULL,
    name text NOT NULL,
    price numeric NOT NULL,
    currency text NOT NULL,
    stock bigint,
    discontinued boolean NOT NULL,
    version integer NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT products_pkey PRIMARY KEY (id),
    CONSTRAINT products_price_check CHECK (price >= 0),
    CONSTRAINT products_stock_check CHECK (stock >= 0)
);
COMMENT ON COLUMN read.products.stock IS 'null: not kept in stock';
CREATE INDEX products_sku_idx ON read.products (sku, id);
CREATE INDEX products_name_idx ON read.products (name, id);
CREATE INDEX products_price_idx ON read.products (price, id);
CREATE INDEX products_discontinued_idx ON read.products (sku, id) WHERE discontinued;

CREATE TABLE read.orders (
    id uuid NOT NULL,
    external_id text,
    user_id uuid NOT NULL,
    status text NOT NULL,
    currency text NOT NULL,
    total numeric NOT NULL,
    cancelled_total numeric NOT NULL,
    note text,
    cancel_reason text,
    placed_at timestamptz NOT NULL,
    cancelled_at timestamptz,
    version integer NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT orders_pkey PRIMARY KEY (id),
    CONSTRAINT orders_user_id_fkey FOREIGN KEY (user_id) REFERENCES read.users (id),
    CONSTRAINT orders_status_check CHECK (status IN ('placed', 'partially_cancelled', 'cancelled')),
    CONSTRAINT orders_cancelled_total_check CHECK (cancelled_total BETWEEN 0 AND total)
);
CREATE INDEX orders_placed_at_idx ON read.orders (placed_at, id);
CREATE INDEX orders_total_idx ON read.orders (total, id);
CREATE INDEX orders_user_id_idx ON read.orders (user_id, placed_at, id);
CREATE INDEX orders_external_id_idx ON read.orders (external_id) WHERE external_id IS NOT NULL;
CREATE INDEX orders_cancelled_placed_at_idx ON read.orders (status, placed_at, id) WHERE status <> 'placed';
CREATE INDEX orders_cancelled_total_idx ON read.orders (status, total, id) WHERE status <> 'placed';

CREATE TABLE read.order_items (
    order_id uuid NOT NULL,
    line smallint NOT NULL,
    product_id uuid NOT NULL,
    sku text NOT NULL,
    name text NOT NULL,
    quantity integer NOT NULL,
    cancelled_quantity integer NOT NULL,
    unit_price numeric NOT NULL,
    amount numeric NOT NULL,
    CONSTRAINT order_items_pkey PRIMARY KEY (order_id, line),
    CONSTRAINT order_items_order_id_fkey FOREIGN KEY (order_id) REFERENCES read.orders (id),
    CONSTRAINT order_items_product_id_fkey FOREIGN KEY (product_id) REFERENCES read.products (id),
    CONSTRAINT order_items_cancelled_quantity_check CHECK (cancelled_quantity BETWEEN 0 AND quantity)
);
COMMENT ON COLUMN read.order_items.sku IS 'as it was when the order was placed, like name and unit_price';
CREATE INDEX order_items_product_id_idx ON read.order_items (product_id, order_id);
"""


def upgrade() -> None:
    op.execute(UP)


def downgrade() -> None:
    # Nothing is lost: a replay builds them again from the log.
    op.execute("DROP SCHEMA read CASCADE")
