"""Claims: the owner of an e-mail address, a SKU or an external_id is the one that the events name."""

from collections.abc import Iterator

from psycopg import Connection, sql

from service.doctor.finding import Check, Finding, first_of, with_psql

# The claims' words are those of command/domain: `email:`, `user:`, `sku:`, `order:`, `cancellation:`. Addresses are
# claimed in lower case, by Unicode's full mapping, which PostgreSQL calls pg_unicode_fast.
_CLAIMS = """
WITH gone AS (SELECT stream FROM log.events WHERE type = 'UserDeleted'),
wanted AS (
    SELECT 'email:' || email.value COLLATE "C" AS claim, email.stream
    FROM (
        SELECT DISTINCT ON (stream) stream, data->>'email_key' AS value FROM log.events
        WHERE type IN ('UserRegistered', 'UserChanged') AND data->>'email_key' IS NOT NULL
        ORDER BY stream, version DESC
    ) AS email
    WHERE stream NOT IN (TABLE gone)
    UNION ALL
    SELECT 'user:' || (data->>'external_id'), stream FROM log.events
    WHERE type = 'UserRegistered' AND data->>'external_id' IS NOT NULL AND stream NOT IN (TABLE gone)
    UNION ALL
    SELECT 'sku:' || (data->>'sku'), stream FROM log.events WHERE type = 'ProductAdded'
    UNION ALL
    SELECT 'order:' || (data->>'external_id'), stream FROM log.events
    WHERE type = 'OrderPlaced' AND data->>'external_id' IS NOT NULL
    UNION ALL
    SELECT * FROM (
        -- A document may cancel pieces of several orders: its claim is the first one's.
        SELECT DISTINCT ON (data->>'external_id') 'cancellation:' || (data->>'external_id'), stream FROM log.events
        WHERE type IN ('OrderLinesCancelled', 'OrderCancelled') AND data->>'external_id' IS NOT NULL
        ORDER BY data->>'external_id', position
    ) AS document
),
had AS (SELECT claim, stream FROM log.claims)
SELECT claim, stream, wanted.claim IS NOT NULL FROM wanted FULL JOIN had USING (claim, stream)
WHERE wanted.claim IS NULL OR had.claim IS NULL -- Deletes come first: another resource may take the claim then.
ORDER BY 1, 3
"""


def _claims(connection: Connection) -> Iterator[Finding]:
    for claim, stream, is_wanted in connection.execute(first_of(_CLAIMS)):
        kind = claim.partition(":")[0]
        if is_wanted:
            what = f"{stream} has no claim on its {kind}, so another may take it"
            mending = sql.SQL("as the tables' owner: INSERT INTO log.claims (claim, stream) VALUES ({}, {})")
        else:
            what = f"{stream} has a claim on a {kind} that no event gives it, so no other stream can take it"
            mending = sql.SQL("as the tables' owner: DELETE FROM log.claims WHERE claim = {} AND stream = {}")
        yield Finding(what, with_psql(mending.format(sql.Literal(claim), sql.Literal(stream)).as_string()))


CHECKS = (Check("claims", _claims, "two resources may get the same key, or a free key may be refused"),)
