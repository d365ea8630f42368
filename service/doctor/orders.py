"""Money: totals are the sums of their lines, and what is cancelled adds up and is no more than was ordered."""

from service.doctor.fields import CANCELLED, ITEM, decimal
from service.doctor.finding import damage

WHY = "reports of this order may show wrong amounts"

_TOTALS = f"""
WITH {ITEM},
placed AS MATERIALIZED (
    SELECT right(stream, 36) AS order_id, {decimal("data", "total")} AS total
    FROM log.events WHERE type = 'OrderPlaced'
)
SELECT order_id, total,
    CASE wrong WHEN 0 THEN format('its lines add up to %s', coalesce(amounts, 0))
        ELSE format('%s of its lines are not quantity x unit_price', wrong) END AS fault
FROM (
    SELECT order_id, total, sum(amount) AS amounts,
        count(*) FILTER (WHERE amount IS DISTINCT FROM quantity * unit_price) AS wrong
    FROM placed LEFT JOIN item USING (order_id) GROUP BY order_id, total
) AS summed
WHERE total IS DISTINCT FROM amounts OR wrong > 0 ORDER BY order_id
"""  # noqa: S608 - put together from constants

_CANCELLED_TOTALS = f"""
WITH {ITEM}, {CANCELLED},
worth AS (
    SELECT order_id, cancelled.version, sum(cancelled.quantity * unit_price) AS worth
    FROM cancelled LEFT JOIN item USING (order_id, line) GROUP BY 1, 2
),
total AS (
    SELECT right(stream, 36) AS order_id, version, {decimal("data", "amount")} AS amount,
        {decimal("data", "cancelled_total_after")} AS after,
        sum({decimal("data", "amount")}) OVER (PARTITION BY stream ORDER BY version) AS running
    FROM log.events WHERE type IN ('OrderLinesCancelled', 'OrderCancelled')
)
SELECT order_id, version, amount, worth, after, running FROM total LEFT JOIN worth USING (order_id, version)
WHERE amount IS DISTINCT FROM worth OR after IS DISTINCT FROM running ORDER BY 1, 2
"""  # noqa: S608 - put together from constants

_CANCELLED_LINES = f"""
WITH {ITEM}, {CANCELLED}
SELECT order_id, version, line, coalesce(ordered, 0) AS ordered, cancelled_after, running FROM (
    SELECT order_id, cancelled.version, line, item.quantity AS ordered, cancelled_after,
        sum(cancelled.quantity) OVER (PARTITION BY order_id, line ORDER BY cancelled.version) AS running
    FROM cancelled LEFT JOIN item USING (order_id, line)
) AS line
WHERE cancelled_after IS DISTINCT FROM running OR ordered IS NULL OR running > ordered ORDER BY 1, 2, 3
"""  # noqa: S608 - put together from constants


CHECKS = (
    damage("totals", _TOTALS, "order-{order_id} has the total {total}, but {fault}", WHY),
    damage(
        "cancelled totals",
        _CANCELLED_TOTALS,
        "order-{order_id} version {version} cancels {amount}, {after} in all, but its lines are worth {worth} "
        "and all cancellations add up to {running}",
        WHY,
    ),
    damage(
        "cancelled lines",
        _CANCELLED_LINES,
        "order-{order_id} version {version} says that {cancelled_after} of line {line} are cancelled, but it is "
        "{running} of {ordered} ordered",
        WHY,
    ),
)
