"""A mirror leaves out what operators have skipped, and does not count it as parked."""

from psycopg import Connection

from eventlog.ids import new_id
from projector.loop import Loop
from projector.mirror.standings import standings
from projector.mirror.targets import target_of
from projector.mirror.verifying import verify
from projector.parked import STREAMS_A_BATCH, skip
from projector.projections.shop import SHOP
from tests.builders import append_events, new_event
from tests.projecting import sweep
from tests.projector.mirror.mirroring import catch_up, rows
from tests.projector.parked_streams import broken, mend, user


def test_a_stream_that_stays_out_for_good_does_not_count_as_parked_in_a_mirror(
    database_url: str, other: Connection, target_url: str
) -> None:
    stream = f"user-{new_id()}"
    append_events(database_url, [broken(new_event(stream, 1, user(1)), "of another shape")])
    sweep(database_url)
    catch_up(database_url, target_url, [SHOP])
    assert parked_in_the_mirror(database_url, other, target_url) == [1, 1]
    skip(other, Loop(SHOP), stream, "nobody needs it", "me")
    append_events(database_url, [new_event(f"user-{new_id()}", 1, user(2))])
    sweep(database_url)
    catch_up(database_url, target_url, [SHOP])
    assert [row[2] for row in rows(target_url, SHOP.plain_tables[0])] == ["User 2"]
    assert parked_in_the_mirror(database_url, other, target_url) == [0, 0]


def test_a_mirror_that_catches_up_retries_more_parked_streams_than_one_set_has(
    database_url: str, other: Connection, target_url: str
) -> None:
    streams = [f"user-{new_id()}" for _ in range(STREAMS_A_BATCH + 2)]
    events = [broken(new_event(stream, 1, user(n)), "of another shape") for n, stream in enumerate(streams)]
    append_events(database_url, events)
    catch_up(database_url, target_url, [SHOP])
    mend(other, streams[-1], 1, user(7))
    catch_up(database_url, target_url, [SHOP])
    assert [row[2] for row in rows(target_url, SHOP.plain_tables[0])] == ["User 7"]


def parked_in_the_mirror(database_url: str, other: Connection, target_url: str) -> list[int]:
    """How many streams are parked there, by the status and by the verify of mirrors."""
    target = target_of(target_url)
    try:
        verdict = verify(database_url, target, SHOP, lambda _: None)
    finally:
        target.close()
    return [*(it.parked for it in standings(other, [SHOP])), verdict.parked]
