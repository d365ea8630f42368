"""A URL that names several servers: each part of the service finds the one that takes writes."""

from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

from projector.connecting import connect
from projector.loop import Loop
from projector.projections.shop import SHOP
from service.migrate import upgrade
from tests.served import served


def test_every_part_finds_the_host_that_takes_writes(empty_database_url: str) -> None:
    given = {name: str(value) for name, value in conninfo_to_dict(empty_database_url).items()}
    hosts = f"127.0.0.1:1,{quote(given['host'], safe='')}:{given.get('port', 5432)}"
    caller = ":".join(quote(given[name], safe="") for name in ("user", "password") if name in given)
    url = f"postgresql://{caller}@{hosts}/{given['dbname']}?target_session_attrs=read-write"
    upgrade(url)
    with served(url) as shop, connect(url) as projecting:
        user = shop.post("/users", json={"name": "Ada", "email": "ada@example.org"})
        assert user.status_code == 201
        Loop(SHOP).project(projecting, 10)
        read = shop.get(user.headers["location"], headers={"Sync-Token": user.headers["sync-token"]})
        assert read.json() == user.json()
