-- Orders of two products each straight into tables of orders, without a log: what reading needs. {schema} is `shop`, or
-- `public` for the tables of crud.py, which have the same columns. Every hundredth of the orders is one user's.
-- Parameters: orders.

SET LOCAL work_mem = '256MB';

CREATE TEMP TABLE shopper ON COMMIT DROP AS
SELECT n, uuidv7() AS id FROM generate_series(1, greatest(1, %(orders)s::bigint / 100)) AS n;
CREATE TEMP TABLE article ON COMMIT DROP AS
SELECT n, uuidv7() AS id, 'SKU-' || lpad(n::text, 6, '0') AS sku, 'Product ' || lpad(n::text, 6, '0') AS name,
       (100 + n %% 400 + 0.50)::numeric(12, 2) AS price
FROM generate_series(1, 2000) AS n;
CREATE TEMP TABLE placed ON COMMIT DROP AS
SELECT n, uuidv7() AS id, 1 + (hashint8extended(n, 1) & 2147483647) %% greatest(1, %(orders)s / 100) AS shopper,
       1 + (hashint8extended(n, 2) & 2147483647) %% 2000 AS first, 1 + (hashint8extended(n, 3) & 2147483647) %% 2000 AS second,
       n %% 33 = 0 AS cancelled, now() - make_interval(secs => 0.001 * (%(orders)s - n)) AS at
FROM generate_series(1, %(orders)s::bigint) AS n;

INSERT INTO {schema}.users (id, name, email{more_of_users})
SELECT id, 'User ' || n, 'user' || n || '@example.org'{values_of_users} FROM shopper;
INSERT INTO {schema}.products (id, sku, name, price, currency, stock{more_of_products})
SELECT id, sku, name, price, 'EUR', 1000000{values_of_products} FROM article;
INSERT INTO {schema}.orders
    (id, user_id, status, currency, total, cancelled_total, placed_at, cancelled_at, version, updated_at)
SELECT placed.id, shopper.id, CASE WHEN cancelled THEN 'cancelled' ELSE 'placed' END, 'EUR', one.price + 2 * two.price,
       CASE WHEN cancelled THEN one.price + 2 * two.price ELSE 0.00 END, at, CASE WHEN cancelled THEN at END,
       CASE WHEN cancelled THEN 2 ELSE 1 END, at
FROM placed
JOIN shopper ON shopper.n = placed.shopper
JOIN article AS one ON one.n = first
JOIN article AS two ON two.n = second
ORDER BY placed.n;
INSERT INTO {schema}.order_items
    (order_id, line, product_id, sku, name, quantity, cancelled_quantity, unit_price, amount{more_of_items})
SELECT placed.id, line, article.id, article.sku, article.name, line, CASE WHEN cancelled THEN line ELSE 0 END, price, price * line{values_of_items}
FROM placed, generate_series(1, 2) AS line, article
WHERE article.n = CASE line WHEN 1 THEN first ELSE second END
ORDER BY placed.n, line;
