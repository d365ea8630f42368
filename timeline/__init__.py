"""Questions about the past of one order, user or product: how it was, which event set each field, what happened to it.

Everything is read from the log; nothing here depends on how far the projections are. HTTP, the command line and pages
use `reading.Timeline`, `finding.streams_of` (the streams that an id, a SKU, an e-mail, an external_id names) and
`comparing.compare` (whether the rows of the read tables equal the fold of the stream).

A stream is `order-<uuid>`, `user-<uuid>` or `product-<uuid>`. Times are aware datetimes, and those in answers are RFC
3339 text. `as_of` compares the time at which an event was recorded, not the time at which it occurred.
"""
