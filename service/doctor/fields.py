"""Fields of stored events in SQL, such that one with nonsense in it reads as null instead of ending the examination."""


def integer(of: str, name: str) -> str:
    """An integer member of the JSON column or expression `of`."""
    return _typed(of, name, "bigint")


def decimal(of: str, name: str) -> str:
    """A decimal number, stored as text."""
    return _typed(of, name, "numeric")


def elements(of: str, name: str) -> str:
    """The elements of an array, as a set."""
    return f"json_array_elements(CASE json_typeof({of}->'{name}') WHEN 'array' THEN {of}->'{name}' ELSE '[]' END)"


def _typed(of: str, name: str, type_name: str) -> str:
    text = f"({of}->>'{name}')"
    return f"CASE WHEN pg_input_is_valid({text}, '{type_name}') THEN {text}::{type_name} ELSE NULL END"


# Every ordered line. MATERIALIZED, because a join that inlines it parses the order's JSON again for each line.
ITEM = f"""item AS MATERIALIZED (
    SELECT right(event.stream, 36) AS order_id, {integer("element", "line")} AS line,
        element->>'product_id' AS product_id, {integer("element", "quantity")} AS quantity,
        {decimal("element", "unit_price")} AS unit_price, {decimal("element", "amount")} AS amount
    FROM log.events AS event, {elements("event.data", "items")} AS element
    WHERE event.type = 'OrderPlaced'
)"""  # noqa: S608 - put together from constants
# Every product whose stock is counted.
KEPT = """kept AS MATERIALIZED (
    SELECT right(stream, 36) AS product_id FROM log.events
    WHERE type = 'ProductAdded' AND data->>'stock_kept' = 'true'
)"""
# Every line of every cancellation.
CANCELLED = f"""cancelled AS MATERIALIZED (
    SELECT right(event.stream, 36) AS order_id, event.version, {integer("element", "line")} AS line,
        {integer("element", "quantity")} AS quantity, {integer("element", "cancelled_after")} AS cancelled_after
    FROM log.events AS event, {elements("event.data", "lines")} AS element
    WHERE event.type IN ('OrderLinesCancelled', 'OrderCancelled')
)"""  # noqa: S608 - put together from constants
