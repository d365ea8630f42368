"""Questions about the past of one order, user or product: how it was, which event set each field, what happened to it.

Everything is read from the log; nothing here depends on how far the projections are. One interface serves HTTP, the
command line and pages:

    from timeline.reading import NOW, AsOf, Timeline, Version

    timeline = Timeline(reads)                # a `query.database.Reads`, or `connection.Connected` of one connection
    past = await timeline.at(stream, when)    # `when`: Version(3), AsOf(datetime), or NOW -> Past
    past.view()                               # the resource as GET answers it, as plain JSON types
    past.fields()                             # [Field]: name, value, and the event that set it last
    await timeline.history(stream, after, limit)  # -> History: [Step], as a person reads them, with what changed
    await timeline.position_at(datetime)      # the last position recorded by then

    from timeline.finding import streams_of
    await streams_of(reads, "web-4711")       # the streams that an id, a SKU, an e-mail, an external_id names

    from timeline.comparing import compare
    await compare(reads, projection, stream)  # -> Comparison: do the read table's rows equal the fold of the stream?

A stream is `order-<uuid>`, `user-<uuid>` or `product-<uuid>`. Times are aware datetimes, and those in answers are RFC
3339 text. `as_of` compares the time at which an event was recorded, not the time at which it occurred.
"""
