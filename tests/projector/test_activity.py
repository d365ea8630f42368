from psycopg import Connection

from eventlog.events import UserDeleted
from projector.loop import Loop
from projector.projections.activity import ACTIVITY
from projector.shadow import Shadow
from tests.builders import Writing, append_events, new_event
from tests.projector.read_tables import head

COUNTED = """
SELECT date_trunc('minute', recorded_at), type, count(*), min(position), max(position) FROM log.events
GROUP BY 1, 2 ORDER BY 1, 2
"""


def test_every_event_is_counted_in_its_minute_whatever_the_batches(
    writing: Writing, database_url: str, connection: Connection
) -> None:
    writing.history(orders=10)
    append_events(database_url, [new_event("user-x", 1, UserDeleted())._replace(type="UserTeleported")])
    wanted = connection.execute(COUNTED).fetchall()
    assert "UserTeleported" in {row[1] for row in wanted}
    for limit in (1, 7, 1_000):
        with Shadow(connection, ACTIVITY, f"activity_by_{limit}") as shadow:
            while shadow.loop.project(connection, limit).events:
                pass
            assert shadow.loop.look(connection).position == head(connection)
            found = connection.execute(f"TABLE {shadow.schema}.events_per_minute ORDER BY 1, 2".encode()).fetchall()
            assert found == wanted, limit


def test_no_event_is_parked(writing: Writing, database_url: str, connection: Connection) -> None:
    append_events(database_url, [new_event("user-x", 1, UserDeleted())._replace(data=b"17")])
    progress = Loop(ACTIVITY).project(connection, 10)
    assert (progress.position, progress.parked) == (1, ())
