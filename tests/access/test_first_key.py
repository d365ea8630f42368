"""The key that `orders up` makes at its first start."""

import stat
from pathlib import Path

import psycopg
import pytest

from service import first_key
from service.errors import OperatorError
from tests.access.keyed import bearing, guarded


def test_the_first_start_makes_an_operators_key_that_only_its_owner_can_read(database_url: str, tmp_path: Path) -> None:
    assert first_key.ensure(database_url, tmp_path)
    path = tmp_path / first_key.FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_text()
    assert not first_key.ensure(database_url, tmp_path)
    assert path.read_text() == before
    with guarded(database_url) as shop:
        assert shop.get("/keys", headers=bearing(before.strip())).status_code == 200


def test_a_start_makes_another_key_when_the_one_in_the_file_was_revoked(database_url: str, tmp_path: Path) -> None:
    first_key.ensure(database_url, tmp_path)
    path = tmp_path / first_key.FILE_NAME
    before = path.read_text()
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE access.api_keys SET revoked_at = now()")
    assert first_key.ensure(database_url, tmp_path)
    assert path.read_text() != before
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_directory_without_room_for_the_key_is_one_line(database_url: str, tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="cannot write"):
        first_key.ensure(database_url, tmp_path / "nowhere")


def test_without_a_database_no_empty_file_is_left(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"connection|refused"):
        first_key.ensure("postgresql://orders@127.0.0.1:1/orders", tmp_path)
    assert not (tmp_path / first_key.FILE_NAME).exists()


@pytest.mark.parametrize("content", [b"a key of another program\n", b"\xff\xfe"])
def test_a_file_of_another_program_is_not_replaced(database_url: str, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / first_key.FILE_NAME
    path.write_bytes(content)
    with pytest.raises(OperatorError, match="holds no API key of orders"):
        first_key.ensure(database_url, tmp_path)
    assert path.read_bytes() == content


def test_a_key_stays_when_the_database_cannot_say_whether_it_is_valid(database_url: str, tmp_path: Path) -> None:
    first_key.ensure(database_url, tmp_path)
    path = tmp_path / first_key.FILE_NAME
    before = path.read_text()
    with pytest.raises(Exception, match=r"connection|refused"):
        first_key.ensure("postgresql://orders@127.0.0.1:1/orders", tmp_path)
    assert path.read_text() == before
