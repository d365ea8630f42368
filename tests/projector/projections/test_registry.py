from eventlog.events import SCHEMA_VERSIONS
from projector.projections import PROJECTIONS
from tests.projector.projections import test_orders, test_products, test_users
from tests.projector.projections.folding import fold


def test_every_event_there_is_has_a_projection() -> None:
    assert set(PROJECTIONS) == set(SCHEMA_VERSIONS)


def test_new_rows_have_all_columns_in_the_tables_order() -> None:
    """COPY takes the values one after another: a column in the wrong place would take another's value."""
    for stream, event in (
        (test_users.STREAM, test_users.ADA),
        (test_products.STREAM, test_products.CUP),
        (test_orders.STREAM, test_orders.PLACED),
    ):
        rows = fold(stream, event)
        for changes in (rows.users, rows.products, rows.orders, rows.order_items):
            for row in changes._inserted.values():
                assert tuple(row) == changes.columns
