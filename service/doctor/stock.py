"""Stock: every product's is the sum of what happened to it, and what happened to it belongs to an order."""

from service.doctor.fields import CANCELLED, ITEM, KEPT, integer
from service.doctor.finding import damage

WHY = "more pieces may be sold than there are, or fewer"

_SUMS = f"""
SELECT stream, version, position, before, delta, after,
    CASE WHEN before + delta = after THEN 'is below zero' ELSE 'is wrong' END AS fault
FROM (
    SELECT stream, version, position, delta, after,
        lag(after, 1, 0::bigint) OVER (PARTITION BY stream ORDER BY version) AS before
    FROM (
        SELECT stream, version, position, {integer("data", "stock_after")} AS after,
            CASE type WHEN 'StockReserved' THEN -1 ELSE 1 END
                * coalesce({integer("data", "delta")}, {integer("data", "quantity")}) AS delta
        FROM log.events WHERE type IN ('StockAdjusted', 'StockReserved', 'StockReleased')
    ) AS event
) AS change
WHERE before + delta IS DISTINCT FROM after OR after < 0 ORDER BY position
"""  # noqa: S608 - put together from constants


def _moved(name: str, type_name: str) -> str:
    """The pieces that events of a type have moved, by order and product."""
    return f"""{name} AS (
    SELECT data->>'order_id' AS order_id, right(stream, 36) AS product_id,
        sum({integer("data", "quantity")}) AS quantity, count(*) AS times
    FROM log.events WHERE type = '{type_name}' GROUP BY 1, 2
)"""  # noqa: S608 - put together from constants


_RESERVED = f"""
WITH {ITEM}, {KEPT},
wanted AS (
    SELECT order_id, product_id, sum(quantity) AS quantity FROM item JOIN kept USING (product_id) GROUP BY 1, 2
),
{_moved("reserved", "StockReserved")}
SELECT order_id, product_id, coalesce(wanted.quantity, 0) AS wanted, coalesce(reserved.quantity, 0) AS reserved,
    coalesce(times, 0) AS times
FROM wanted FULL JOIN reserved USING (order_id, product_id)
WHERE wanted.quantity IS DISTINCT FROM reserved.quantity OR times <> 1
ORDER BY 1, 2
"""  # noqa: S608 - put together from constants

_RELEASED = f"""
WITH {ITEM}, {KEPT}, {CANCELLED},
wanted AS (
    SELECT order_id, product_id, sum(cancelled.quantity) AS quantity, count(DISTINCT cancelled.version) AS times
    FROM cancelled JOIN item USING (order_id, line) JOIN kept USING (product_id) GROUP BY 1, 2
),
{_moved("released", "StockReleased")}
SELECT order_id, product_id, coalesce(wanted.quantity, 0) AS wanted, coalesce(wanted.times, 0) AS cancellations,
    coalesce(released.quantity, 0) AS released, coalesce(released.times, 0) AS times
FROM wanted FULL JOIN released USING (order_id, product_id)
WHERE (wanted.quantity, wanted.times) IS DISTINCT FROM (released.quantity, released.times)
ORDER BY 1, 2
"""  # noqa: S608 - put together from constants


CHECKS = (
    damage(
        "stock",
        _SUMS,
        "the stock of {stream} {fault} at version {version} (event {position}): {before} and {delta} came to {after}",
        WHY,
    ),
    damage(
        "reservations",
        _RESERVED,
        "order-{order_id} wants {wanted} of product-{product_id}, but reserved {reserved} in {times} events",
        WHY,
    ),
    damage(
        "releases",
        _RELEASED,
        "order-{order_id} cancelled {wanted} of product-{product_id} in {cancellations} events, but released "
        "{released} in {times}",
        WHY,
    ),
)
