"""Ids are UUIDs of version 7, and sort by when they were made."""

import time
from uuid import RFC_4122, UUID

from contract.names import id_of
from eventlog.ids import new_id


def test_an_id_has_version_variant_and_time_of_rfc_9562() -> None:
    before = time.time_ns() // 1_000_000
    ids = [new_id() for _ in range(1_000)]
    after = time.time_ns() // 1_000_000
    for each in map(UUID, ids):
        assert (each.version, each.variant) == (7, RFC_4122)
        assert before <= each.int >> 80 <= after


def test_an_id_is_canonical_text() -> None:
    for each in (new_id() for _ in range(1_000)):
        assert str(UUID(each)) == each == id_of(each)


def test_ids_are_unique() -> None:
    assert len({new_id() for _ in range(100_000)}) == 100_000


def test_ids_of_different_milliseconds_sort_by_time() -> None:
    ids = []
    for _ in range(5):
        ids.append(new_id())
        made = time.time_ns() // 1_000_000
        while time.time_ns() // 1_000_000 == made:
            pass
    assert ids == sorted(ids)
