-- The read tables in pure SQL: how fast PostgreSQL itself can make them from the log. Made as one would make them when
-- nothing else mattered: no table is written twice, each event's JSON is read once, parallel scans, keys and indexes
-- after the rows. It knows only the events that bench/history.sql writes (no user or product changes after it was
-- added, no order is cancelled in part), which makes it faster than one that knows all.

DROP SCHEMA IF EXISTS read_sql CASCADE;
CREATE SCHEMA read_sql;

CREATE TABLE read_sql.users AS
SELECT right(stream, 36)::uuid AS id, external_id, name, email, email_key, version, occurred_at AS created_at,
       occurred_at AS updated_at, NULL::timestamptz AS deleted_at
FROM log.events, json_to_record(data) AS event (name text, email text, email_key text, external_id text)
WHERE type = 'UserRegistered';

CREATE TABLE read_sql.products AS
WITH last AS (
    SELECT stream, max(version) AS version FROM log.events
    WHERE type IN ('ProductAdded', 'StockAdjusted', 'StockReserved', 'StockReleased') GROUP BY stream
)
SELECT right(stream, 36)::uuid AS id, sku, name, price, currency,
       CASE WHEN stock_kept THEN coalesce((newest.data->>'stock_after')::bigint, 0) END AS stock, false AS discontinued,
       last.version, added.occurred_at AS created_at, newest.occurred_at AS updated_at
FROM last
JOIN log.events AS newest USING (stream, version)
JOIN log.events AS added USING (stream),
json_to_record(added.data) AS event (sku text, name text, price numeric, currency text, stock_kept boolean)
WHERE added.version = 1;

CREATE TABLE read_sql.orders AS
SELECT right(placed.stream, 36)::uuid AS id, event.external_id, user_id,
       CASE WHEN cancelled.stream IS NULL THEN 'placed' ELSE 'cancelled' END AS status, currency, total,
       coalesce((cancelled.data->>'cancelled_total_after')::numeric, 0.00) AS cancelled_total, note,
       cancelled.data->>'reason' AS cancel_reason, placed.occurred_at AS placed_at, cancelled.occurred_at AS cancelled_at,
       json_array_length(placed.data->'items')::smallint AS line_count,
       coalesce(cancelled.version, placed.version) AS version,
       coalesce(cancelled.occurred_at, placed.occurred_at) AS updated_at
FROM log.events AS placed
LEFT JOIN (SELECT * FROM log.events WHERE type = 'OrderCancelled') AS cancelled ON cancelled.stream = placed.stream,
json_to_record(placed.data) AS event (external_id text, user_id uuid, currency text, total numeric, note text)
WHERE placed.type = 'OrderPlaced';

CREATE TABLE read_sql.order_items AS
SELECT right(placed.stream, 36)::uuid AS order_id, item.line, item.product_id, item.sku, item.name, item.quantity,
       CASE WHEN cancelled.stream IS NULL THEN 0 ELSE item.quantity END AS cancelled_quantity, item.unit_price, item.amount,
       placed.occurred_at AS placed_at
FROM log.events AS placed
LEFT JOIN (SELECT stream FROM log.events WHERE type = 'OrderCancelled') AS cancelled ON cancelled.stream = placed.stream,
json_to_recordset(placed.data->'items') AS item
    (line smallint, product_id uuid, sku text, name text, quantity integer, unit_price numeric, amount numeric)
WHERE placed.type = 'OrderPlaced';

-- The keys, checks and indexes of readmodel/shop.py.
ALTER TABLE read_sql.users
    ADD PRIMARY KEY (id), ALTER name SET NOT NULL, ALTER email SET NOT NULL, ALTER email_key SET NOT NULL, ALTER version SET NOT NULL,
    ALTER created_at SET NOT NULL, ALTER updated_at SET NOT NULL;
ALTER TABLE read_sql.products
    ADD PRIMARY KEY (id), ALTER sku SET NOT NULL, ALTER name SET NOT NULL, ALTER price SET NOT NULL,
    ALTER currency SET NOT NULL, ALTER discontinued SET NOT NULL, ALTER version SET NOT NULL,
    ALTER created_at SET NOT NULL, ALTER updated_at SET NOT NULL, ADD CHECK (price >= 0), ADD CHECK (stock >= 0);
ALTER TABLE read_sql.orders
    ADD PRIMARY KEY (id), ALTER user_id SET NOT NULL, ALTER line_count SET NOT NULL, ALTER status SET NOT NULL,
    ALTER currency SET NOT NULL, ALTER total SET NOT NULL, ALTER cancelled_total SET NOT NULL, ALTER placed_at SET NOT NULL,
    ALTER version SET NOT NULL, ALTER updated_at SET NOT NULL,
    ADD CHECK (status IN ('placed', 'partially_cancelled', 'cancelled')), ADD CHECK (cancelled_total BETWEEN 0 AND total),
    ADD FOREIGN KEY (user_id) REFERENCES read_sql.users (id);
ALTER TABLE read_sql.order_items
    ADD PRIMARY KEY (order_id, line), ALTER product_id SET NOT NULL, ALTER sku SET NOT NULL, ALTER name SET NOT NULL,
    ALTER quantity SET NOT NULL, ALTER cancelled_quantity SET NOT NULL, ALTER unit_price SET NOT NULL,
    ALTER amount SET NOT NULL, ALTER placed_at SET NOT NULL, ADD CHECK (cancelled_quantity BETWEEN 0 AND quantity),
    ADD FOREIGN KEY (order_id) REFERENCES read_sql.orders (id),
    ADD FOREIGN KEY (product_id) REFERENCES read_sql.products (id);

-- The indexes follow: bench/replay.py takes them from readmodel/shop.py, so that both have the same.
