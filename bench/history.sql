-- A log as the service itself would have written it: users, products with stock, orders of two products each (three
-- events), and every 33rd order cancelled (three more), some 20,000 orders later. Versions, stock_after, snapshots and
-- the head are all as they must be: the service goes on from here.
-- Parameters: users, products, orders, shape (of the snapshots of products).

SET LOCAL work_mem = '512MB';
SET LOCAL maintenance_work_mem = '1GB';
ALTER TABLE log.events DROP CONSTRAINT events_pkey, DROP CONSTRAINT one_event_per_version;

CREATE TEMP TABLE shopper ON COMMIT DROP AS
SELECT n, uuidv7()::text AS id FROM generate_series(1, %(users)s::bigint) AS n;

CREATE TEMP TABLE article ON COMMIT DROP AS
SELECT n, uuidv7()::text AS id, 'SKU-' || lpad(n::text, 6, '0') AS sku, 'Product ' || lpad(n::text, 6, '0') AS name,
       (100 + n %% 400 + 0.50)::numeric(12, 2) AS price, 1000000000::bigint AS stock
FROM generate_series(1, %(products)s::bigint) AS n;

CREATE TEMP TABLE placed ON COMMIT DROP AS
SELECT n, uuidv7()::text AS id, 1 + number[1] %% %(users)s AS shopper,
       1 + number[2] %% %(products)s AS first,
       1 + (number[2] %% %(products)s + 1 + number[3] %% (%(products)s - 1)) %% %(products)s AS second,
       1 + number[2] %% 3 AS first_quantity, 1 + number[3] %% 3 AS second_quantity
FROM generate_series(1, %(orders)s::bigint) AS n,
     LATERAL (SELECT ARRAY[hashint8extended(n, 1), hashint8extended(n, 2), hashint8extended(n, 3)] AS raw) AS hashed,
     LATERAL (SELECT ARRAY[raw[1] & 2147483647, raw[2] & 2147483647, raw[3] & 2147483647] AS number) AS positive;

-- One row an event, in order, with what becomes of its product. `after` is the stock, counted from the first event on.
CREATE TEMP TABLE happened ON COMMIT DROP AS
SELECT %(users)s + 2 * %(products)s + row_number() OVER (ORDER BY at, part) AS position,
       part, id, shopper, first, second, first_quantity, second_quantity, article, taken,
       2 + row_number() OVER product AS version, sum(taken) OVER product AS taken_so_far
FROM (
    SELECT n AS at, 0 AS part, *, NULL::bigint AS article, 0::bigint AS taken FROM placed
    UNION ALL SELECT n, 1, *, first, first_quantity FROM placed
    UNION ALL SELECT n, 2, *, second, second_quantity FROM placed
    UNION ALL SELECT n + 20000, 3, *, NULL, 0 FROM placed WHERE n %% 33 = 0
    UNION ALL SELECT n + 20000, 4, *, first, -first_quantity FROM placed WHERE n %% 33 = 0
    UNION ALL SELECT n + 20000, 5, *, second, -second_quantity FROM placed WHERE n %% 33 = 0
) AS event
WINDOW product AS (PARTITION BY article ORDER BY at, part);

ANALYZE shopper, article, happened;

CREATE TEMP TABLE clock ON COMMIT DROP AS
SELECT now() - make_interval(secs => 0.001 * greatest(%(users)s + 2 * %(products)s, max(position))) AS start
FROM happened;

INSERT INTO log.events
    (position, stream, version, type, schema_version, occurred_at, recorded_at, data, metadata)
SELECT event.position, stream, version, type, 1, at, at, data::json,
       ('{"actor":{"kind":"key","id":"bench"},"command_id":"' || uuidv7() || '"}')::json
FROM clock, (
    SELECT n AS position, 'user-' || id AS stream, 1 AS version, 'UserRegistered' AS type,
           '{"name":"User ' || n || '","email":"user' || n || '@example.org","email_key":"user' || n || '@example.org","external_id":null}' AS data
    FROM shopper
    UNION ALL
    SELECT %(users)s + 2 * n - 1, 'product-' || id, 1, 'ProductAdded',
           '{"sku":"' || sku || '","name":"' || name || '","price":"' || price || '","currency":"EUR","stock_kept":true}'
    FROM article
    UNION ALL
    SELECT %(users)s + 2 * n, 'product-' || id, 2, 'StockAdjusted',
           '{"delta":' || stock || ',"reason":"initial stock","stock_after":' || stock || '}'
    FROM article
) AS event, LATERAL (SELECT start + 0.001 * event.position * interval '1 s' AS at) AS time
ORDER BY event.position;

INSERT INTO log.events
    (position, stream, version, type, schema_version, occurred_at, recorded_at, data, metadata)
SELECT event.position,
       CASE WHEN article IS NULL THEN 'order-' || event.id ELSE 'product-' || moved.id END,
       CASE WHEN article IS NULL THEN 1 + part / 3 ELSE event.version END,
       (ARRAY['OrderPlaced', 'StockReserved', 'StockReserved', 'OrderCancelled', 'StockReleased', 'StockReleased'])[1 + part],
       1, at, at,
       CASE
           WHEN part = 0 THEN
               '{"user_id":"' || shopper.id || '","external_id":null,"currency":"EUR","total":"'
               || one.price * first_quantity + two.price * second_quantity || '","note":null,"items":['
               || '{"line":1,"product_id":"' || one.id || '","sku":"' || one.sku || '","name":"' || one.name
               || '","quantity":' || first_quantity || ',"unit_price":"' || one.price
               || '","amount":"' || one.price * first_quantity || '"},'
               || '{"line":2,"product_id":"' || two.id || '","sku":"' || two.sku || '","name":"' || two.name
               || '","quantity":' || second_quantity || ',"unit_price":"' || two.price
               || '","amount":"' || two.price * second_quantity || '"}]}'
           WHEN part = 3 THEN
               '{"user_id":"' || shopper.id || '","currency":"EUR","reason":"changed my mind","external_id":null,"lines":['
               || '{"line":1,"product_id":"' || one.id || '","sku":"' || one.sku || '","quantity":' || first_quantity
               || ',"amount":"' || one.price * first_quantity || '","cancelled_after":' || first_quantity || '},'
               || '{"line":2,"product_id":"' || two.id || '","sku":"' || two.sku || '","quantity":' || second_quantity
               || ',"amount":"' || two.price * second_quantity || '","cancelled_after":' || second_quantity || '}],'
               || '"amount":"' || one.price * first_quantity + two.price * second_quantity
               || '","cancelled_total_after":"' || one.price * first_quantity + two.price * second_quantity || '"}'
           ELSE
               '{"order_id":"' || event.id || '","quantity":' || abs(taken)
               || ',"stock_after":' || moved.stock - taken_so_far || '}'
       END::json,
       ('{"actor":{"kind":"key","id":"bench"},"command_id":"' || uuidv7() || '"}')::json
FROM clock, happened AS event
JOIN shopper ON shopper.n = event.shopper
JOIN article AS one ON one.n = event.first
JOIN article AS two ON two.n = event.second
LEFT JOIN article AS moved ON moved.n = event.article,
LATERAL (SELECT start + 0.001 * event.position * interval '1 s' AS at) AS time
-- In order also on the disk, as a log that was appended to is.
ORDER BY event.position;

ALTER TABLE log.events
    ADD CONSTRAINT events_pkey PRIMARY KEY (position),
    ADD CONSTRAINT one_event_per_version UNIQUE (stream, version);

-- The writer takes a snapshot every 32 events, and keeps the last.
INSERT INTO log.snapshots (stream, version, shape, state)
SELECT DISTINCT ON (article.n) 'product-' || article.id, event.version, %(shape)s,
       ('{"id":"' || article.id || '","sku":"' || sku || '","name":"' || name || '","price":"' || price
        || '","currency":"EUR","stock":' || stock - taken_so_far || ',"discontinued":false,"created_at":"'
        || to_char((start + 0.001 * (%(users)s + 2 * article.n - 1) * interval '1 s') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        || '","updated_at":"'
        || to_char((start + 0.001 * event.position * interval '1 s') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        || '"}')::json
FROM clock, happened AS event JOIN article ON article.n = event.article
WHERE event.version %% 32 = 0
ORDER BY article.n, event.version DESC;

INSERT INTO log.claims (claim, stream)
SELECT 'sku:' || sku, 'product-' || id FROM article
UNION ALL
SELECT 'email:user' || n || '@example.org', 'user-' || id FROM shopper;

UPDATE log.head SET position = last.position, recorded_at = last.recorded_at
FROM (SELECT position, recorded_at FROM log.events ORDER BY position DESC LIMIT 1) AS last;
