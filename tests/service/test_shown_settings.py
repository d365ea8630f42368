"""What the console shows of the settings: values and sources, and no password."""

from pathlib import Path

import pytest

from service.settings import Settings
from service.shown_settings import handed_on, shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://orders:hunter2@db/orders",
        "postgresql://orders@/orders?host=db&password=hunter2",
        "postgresql://orders:hunter2@db1:5432,db2:5432/orders?target_session_attrs=read-write",
    ],
)
@pytest.mark.parametrize("redis_url", ["redis://:is@hunter2@cache/0", "redis://me@corp:hunter2@cache/0"])
def test_a_url_is_shown_without_its_password(url: str, redis_url: str) -> None:
    told = {it.name: it.value for it in shown(Settings(database_url=url, redis_url=redis_url))}
    assert "hunter2" not in str(told)
    assert "orders" in told["DATABASE_URL"]
    assert "cache" in told["REDIS_URL"]


def test_each_setting_has_a_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "8123")
    told = {it.name: (it.value, it.source) for it in shown(Settings.load())}
    assert told["PORT"] == ("8123", "environment")
    assert told["LOG_LEVEL"] == ("info", "default")
    assert set(told) == {name.upper() for name in Settings.model_fields}


def test_a_source_is_named_by_where_the_value_stands(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("LOG_LEVEL=warning\nCONSOLE=1\n")
    (tmp_path / "redis").write_text("redis://cache/0")
    monkeypatch.setenv("log_format", "text")  # the default, but said; in small letters, which count too
    monkeypatch.setenv("REDIS_URL_FILE", str(tmp_path / "redis"))
    told = {it.name: (it.value, it.source) for it in shown(Settings.load(port=8001))}
    assert told["LOG_LEVEL"] == ("warning", ".env")
    assert told["LOG_FORMAT"] == ("text", "environment")
    assert told["REDIS_URL"] == ("redis://cache/0", "the file that REDIS_URL_FILE names")
    assert told["PORT"] == ("8001", "command line")
    assert told["CONSOLE"] == ("1", ".env")
    assert told["NO_AUTH"] == ("0", "default")


def test_a_child_process_knows_where_the_settings_of_its_parent_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in handed_on(Settings.load(port=8001), CONSOLE="1").items():
        monkeypatch.setenv(name, value)
    told = {it.name: (it.value, it.source) for it in shown(Settings.load())}
    assert told["PORT"] == ("8001", "command line")
    assert told["CONSOLE"] == ("1", "orders up")
    assert told["LOG_LEVEL"] == ("info", "default")
