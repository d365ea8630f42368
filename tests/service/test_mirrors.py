"""Mirrors over HTTP: listed beside the projections, with figures of their own, and never a reason not to be ready."""

from pathlib import Path

import psycopg

from contract.resources import ProjectionView
from projector.projections.shop import SHOP
from tests.builders import Writing
from tests.projecting import sweep
from tests.projector.mirror.mirroring import catch_up
from tests.served import served


def test_mirrors_are_listed_and_measured(database_url: str, tmp_path: Path) -> None:
    with Writing(database_url) as writing:
        writing.history()
    sweep(database_url)
    catch_up(database_url, f"sqlite:///{tmp_path / 'app.db'}", [SHOP])
    with served(database_url) as shop:
        listed = [ProjectionView.model_validate(it) for it in shop.get("/projections").json()["data"]]
        assert [(it.name, it.mirror is None) for it in listed] == [
            ("shop", True),
            ("sales", True),
            ("activity", True),
            ("shop", False),
        ]
        assert listed[-1].lag_events == 0
        assert listed[-1].position == listed[0].position
        measured = shop.get("/metrics").text
        labels = f'{{mirror="{listed[-1].mirror}",projection="shop"}}'
        assert f"orders_mirror_position{labels} {float(listed[0].position)}" in measured
        assert f"orders_mirror_lag_events{labels} 0.0" in measured
        assert f'orders_mirror_state{labels[:-1]},state="ended"}} 1.0' in measured


def test_a_mirror_that_stopped_leaves_the_service_ready(database_url: str, tmp_path: Path) -> None:
    catch_up(database_url, f"sqlite:///{tmp_path / 'app.db'}", [SHOP])
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "UPDATE mirrors.standings SET seen_at = now() - interval '1 hour', ended_at = NULL, error = 'gone'"
        )
    with served(database_url) as shop:
        sweep(database_url)
        assert shop.get("/readyz").json()["not_ready"] == {}
        assert shop.get("/projections").json()["data"][-1]["state"] == "stopped"
