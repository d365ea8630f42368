from eventlog.events import NOT_PROJECTED, SCHEMA_VERSIONS
from projector.projections.shop import SHOP


def test_the_shop_handles_every_event_type() -> None:
    assert set(SHOP.on) == set(SCHEMA_VERSIONS) - NOT_PROJECTED
