"""How values reach the drivers of SQLite and MySQL."""

import pytest

from projector.mirror.driver_target import utc_text
from projector.narrowing import RowsRefused


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("2026-01-02 03:04:05+00", "2026-01-02 03:04:05.000000"),
        ("2026-01-02 03:04:05.6+00", "2026-01-02 03:04:05.600000"),
        ("0001-01-01 00:00:00.678901+00", "0001-01-01 00:00:00.678901"),
        (None, None),
    ],
)
def test_a_time_is_stored_with_microseconds_and_without_its_zone(text: str | None, stored: str | None) -> None:
    assert utc_text(text) == stored


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-02 03:00:00.000000Z",
        "2026-01-02 03:00:00Z",
        "2026-01-02T03:00:00+00",
        "2026-01-02 03:00:00+02",
        "10000-01-02 03:04:05+00",
        "0044-03-15 03:04:05+00 BC",
        "infinity",
        "03:04:05+00",
    ],
)
def test_a_time_that_a_handler_has_written_in_another_way_is_refused(text: str) -> None:
    with pytest.raises(RowsRefused, match="as PostgreSQL writes it in UTC"):
        utc_text(text)
