"""The stack that the system tests stand on: it runs, and survives being killed piece by piece."""

from pathlib import Path

from tests import loopback
from tests.system.stack import Stack


def test_an_order_is_placed_and_read_after_every_part_was_killed(tmp_path: Path) -> None:
    with Stack(tmp_path) as stack:
        stack.apis[0].kill()
        stack.workers[0].kill()
        stack.postgres.stop()
        stack.valkey.stop()
        stack.postgres.start()
        stack.valkey.start()
        stack.apis[0].start()
        stack.workers[0].start()
        stack.wait_until_ready()
        (url,) = stack.urls
        made = loopback.post(f"{url}/users", json={"name": "Ada", "email": "ada@example.org"})
        assert made.status_code == 201, made.text
        token = {"Sync-Token": made.headers["sync-token"]}
        assert loopback.get(url + made.headers["location"], headers=token).json()["name"] == "Ada"
        assert stack.run("verify").returncode == 0
