"""What the console shows of the settings: values and sources, and no password."""

import pytest

from service.settings import Settings
from service.shown_settings import shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://orders:hunter2@db/orders",
        "postgresql://orders@/orders?host=db&password=hunter2",
        "postgresql://orders:hunter2@db1:5432,db2:5432/orders?target_session_attrs=read-write",
    ],
)
def test_a_url_is_shown_without_its_password(url: str) -> None:
    told = {name: value for name, value, _ in shown(Settings(database_url=url, redis_url="redis://:hunter2@cache/0"))}
    assert "hunter2" not in str(told)
    assert "orders" in told["DATABASE_URL"]
    assert "cache" in told["REDIS_URL"]


def test_each_setting_has_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8123")
    told = {name: (value, source) for name, value, source in shown(Settings.load())}
    assert told["PORT"] == ("8123", "environment")
    assert told["LOG_LEVEL"] == ("info", "default")
    assert set(told) == {name.upper() for name in Settings.model_fields}
