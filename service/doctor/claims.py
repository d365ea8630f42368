"""Claims: who has an e-mail address, a SKU or an external_id is who the events say, and nobody else."""

from service.doctor.finding import Check, of_rows

WHY = "two resources may get the same key, or a free key may be refused"

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
SELECT CASE WHEN had.claim IS NULL
        THEN format('%s has no claim on its %s, so another may take it', stream, kind)
        ELSE format('%s has a claim on a %s that no event gives it, so nobody else can take it', stream, kind)
    END AS what,
    CASE WHEN had.claim IS NULL
        THEN format('INSERT INTO log.claims (claim, stream) VALUES (%L, %L)', claim, stream)
        ELSE format('DELETE FROM log.claims WHERE claim = %L AND stream = %L', claim, stream)
    END AS statement
FROM wanted FULL JOIN had USING (claim, stream), split_part(claim, ':', 1) AS kind
WHERE wanted.claim IS NULL OR had.claim IS NULL
ORDER BY claim, had.claim IS NULL -- What is to be deleted comes first: another may have the claim then.
"""

CHECKS = (Check("claims", of_rows(_CLAIMS, "{what}", "as the tables' owner: {statement}"), WHY),)
