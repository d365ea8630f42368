from collections.abc import Iterator

import psycopg
import pytest
from psycopg import Connection

from eventlog.events import CancelledLine, OrderCancelled, OrderItem, OrderPlaced, ProductAdded, UserChanged
from eventlog.ids import new_id
from projector.connecting import connect
from projector.loop import Loop
from projector.projections.shop import SHOP
from tests.builders import Writing, append_events, new_event
from tests.projector.parked_streams import broken, user


@pytest.fixture
def writing(database_url: str) -> Iterator[Writing]:
    """The write side on this test's database; only the test projects."""
    with Writing(database_url) as writing:
        yield writing


@pytest.fixture
def connection(database_url: str) -> Iterator[Connection]:
    """A projector's connection."""
    with connect(database_url) as connection:
        yield connection


@pytest.fixture
def shop(writing: Writing, connection: Connection) -> Writing:
    """A shop with some history, projected."""
    writing.history(orders=5)
    while Loop(SHOP).project(connection, 1_000).events:
        pass
    return writing


@pytest.fixture
def other(database_url: str) -> Iterator[Connection]:
    """A connection of another session."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def order(database_url: str) -> dict[str, str]:
    """An order whose user has a first event that cannot be read: streams by kind."""
    buyer, product, placed, another = new_id(), new_id(), new_id(), new_id()
    items = (OrderItem(1, product, "CUP", "Cup", 2, "2.50", "5.00"),)
    append_events(
        database_url,
        [
            broken(new_event(f"user-{buyer}", 1, user(1)), "of another shape"),
            new_event(f"product-{product}", 1, ProductAdded("CUP", "Cup", "2.50", "EUR", False)),
            new_event(f"order-{placed}", 1, OrderPlaced(buyer, None, "EUR", "5.00", None, items)),
            new_event(f"user-{another}", 1, user(2)),
            new_event(f"user-{buyer}", 2, UserChanged("Ada", None)),
            new_event(
                f"order-{placed}",
                2,
                OrderCancelled(
                    buyer, "EUR", None, None, (CancelledLine(1, product, "CUP", 2, "5.00", 2),), "5.00", "5.00"
                ),
            ),
        ],
    )
    return {"user": f"user-{buyer}", "order": f"order-{placed}", "another": f"user-{another}"}


@pytest.fixture
def owner_url(shop: Writing, database_url: str, connection: Connection) -> Iterator[str]:
    """The URL of a role that owns the schemas and tables of the service, and is no superuser."""
    name = f"owner_{connection.info.dbname}"
    connection.execute(
        f"""CREATE ROLE {name} LOGIN; GRANT CREATE ON DATABASE "{connection.info.dbname}" TO {name};
        DO $$ DECLARE statement text; BEGIN FOR statement IN
            SELECT format('ALTER SCHEMA %I OWNER TO {name}', nspname) FROM pg_namespace
            WHERE nspname IN ('log', 'shop', 'reports', 'operations')
            UNION ALL
            SELECT format('ALTER TABLE %s OWNER TO {name}', oid::regclass) FROM pg_class WHERE relkind IN ('r', 'v')
                AND relnamespace::regnamespace::text IN ('log', 'shop', 'reports', 'operations')
        LOOP EXECUTE statement; END LOOP; END $$""".encode()
    )
    yield database_url.replace("orders@", f"{name}@", 1)
    connection.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}".encode())


@pytest.fixture
def reporter(connection: Connection) -> Iterator[str]:
    """A role without rights of its own."""
    name = f"reporter_{connection.info.dbname}"
    connection.execute(f"CREATE ROLE {name}".encode())
    yield name
    connection.execute("RESET ROLE")
    connection.execute(f"REASSIGN OWNED BY {name} TO CURRENT_USER; DROP OWNED BY {name}; DROP ROLE {name}".encode())
