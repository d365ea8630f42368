"""The figures about the database and the workers that a scrape shows are those that are true."""

import re
from pathlib import Path

import pytest

from command.importing.rejects import Rejects
from projector import bell
from service import import_runs
from tests.builders import append_parked_user, wait_until
from tests.projecting import sweep
from tests.served import NO_REDIS, Shop, served


def figures(shop: Shop, name: str) -> dict[str, float]:
    """The samples of a metric: what its braces hold, and the value."""
    found = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", shop.get("/metrics").text, re.MULTILINE)
    return {labels: float(value) for labels, value in found}


def import_rows(database_url: str, path: Path, refused: str | None, fault: bool = False) -> None:
    """Record a run of `orders import` of a row that is new, two that are there, and maybe three refused."""
    with (
        Rejects(path) as rejects,
        import_runs.recorded(database_url, [path], rejects, lambda: 1) as summary,
    ):
        summary.accepted += 1
        summary.already_there += 2
        if refused:
            summary.refused[refused] += 3
        if fault:
            raise ValueError("it ended early")


def test_the_rows_of_all_imports_are_counted_by_outcome(database_url: str, tmp_path: Path) -> None:
    name = "orders_import_rows_total"
    with served(database_url) as shop:
        assert figures(shop, name) == dict.fromkeys(
            ('outcome="accepted"', 'outcome="already_there"', 'outcome="refused"'), 0
        )
        import_rows(database_url, tmp_path / "1.jsonl", "malformed-json")
        import_rows(database_url, tmp_path / "2.jsonl", None)
        with pytest.raises(ValueError, match="it ended early"):
            import_rows(database_url, tmp_path / "3.jsonl", "email-taken", fault=True)
        expected = {'outcome="accepted"': 3, 'outcome="already_there"': 6, 'outcome="refused"': 6}
        wait_until(lambda: figures(shop, name) == expected, 30, f"{name} is {expected}")


def test_the_workers_that_hear_the_bell_are_counted(database_url: str, redis_url: str) -> None:
    with served(database_url, redis_url) as shop:

        def shows(workers: int) -> None:
            wait_until(lambda: figures(shop, "orders_workers_live") == {"": workers}, 30, f"{workers} workers are live")

        shows(0)
        listeners = [bell.Listener(redis_url) for _ in range(2)]
        for it in listeners:
            it.heard(0.1)
        shows(2)
        listeners.pop().close()
        shows(1)
        listeners.pop().close()
        shows(0)


def test_nothing_is_said_of_the_workers_while_redis_does_not_answer(database_url: str) -> None:
    with served(database_url, NO_REDIS) as shop:
        assert figures(shop, "orders_workers_live") == {}


def test_the_time_is_shown_when_the_first_stream_was_parked(database_url: str) -> None:
    with served(database_url) as shop:
        name = "orders_parked_oldest_timestamp_seconds"
        assert figures(shop, name) == {}
        append_parked_user(database_url)
        sweep(database_url)
        ((first,),) = shop.rows("SELECT extract(epoch FROM parked_at)::float8 FROM shop.parked")
        append_parked_user(database_url)
        sweep(database_url)
        wait_until(lambda: figures(shop, "orders_parked_streams")['projection="shop"'] == 2, 30, "both are parked")
        shown = figures(shop, name)
        assert shown.keys() == {'projection="shop"'}
        assert shown['projection="shop"'] == pytest.approx(first, abs=0.001)
