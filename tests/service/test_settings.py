"""Settings from the environment, and the errors for invalid ones."""

from pathlib import Path

import pytest

from service.errors import OperatorError
from service.settings import Settings

VARIABLES = tuple(name.upper() for name in Settings.model_fields)


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of ours, and no .env in the working directory."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)


def test_everything_has_a_default() -> None:
    settings = Settings.load()
    assert settings.port == 8000
    assert settings.data_dir == Path("data")
    assert (settings.log_format, settings.log_level) == ("text", "info")
    assert (settings.database_url, settings.redis_url, settings.query_database_url) == (None, None, None)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://orders@/orders?host=%2Fsrv%2Fmy%20data%2Fpostgres",
        "postgresql://a:b@one:5432,two:5433/orders?target_session_attrs=read-write",
        "postgresql://a@/orders?host=one&host=two&target_session_attrs=read-write",
        "postgresql://a:b@one:5432,two/orders",
        "postgresql://a@one/orders?hostaddr=127.0.0.1&gssencmode=require",
        "postgresql://a@one/orders?replication=off",
        "postgresql://a@%40abstract-socket/orders",
        "postgres://localhost/orders",
    ],
)
def test_every_url_that_libpq_takes_is_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    assert Settings.load().database_url == url


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "eighty"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("DATABASE_URL", "mysql://root:hunter2@localhost/orders"),
        ("DATABASE_URL", "postgresql://a:hunter2@localhost:54x2/orders"),
        ("DATABASE_URL", "postgresql://a:hunter2%zz@localhost/orders"),
        ("DATABASE_URL", "postgresql://a:hunter2@localhost/orders?sslmod=require"),
        ("DATABASE_URL", "postgresql://a:hunter2@localhost/orders?connect_timeout=soon"),
        ("DATABASE_URL", "postgresql://a:hunter2@localhost/orders?keepalives=on"),
        ("DATABASE_URL", "postgresql://a:hunter2@localhost/orders?port=1,2,3"),
        ("DATABASE_URL", "postgresql://a:hunter2@localhost/orders?hostaddr=127.0.0.1,127.0.0.2"),
        ("DATABASE_URL", "postgresql://a:hunter2@localhost/orders?replication=database"),
        ("DATABASE_URL", "postgresql://a:hunter2@localhost/orders?load_balance_hosts=wrong"),
        ("DATABASE_URL", "postgresql://a:hunter2@localhost/orders?sslmode=on"),
        ("DATABASE_URL", "postgresql://a:hunter2@localhost/orders?service=unheard-of"),
        ("QUERY_DATABASE_URL", "localhost"),
        ("QUERY_DATABASE_URL", "postgresql://a:hunter2@localhost/orders?port=1,2,3"),
        ("REDIS_URL", "http://:hunter2@localhost"),
        ("REDIS_URL", "redis://:hunter2@localhost:port"),
        ("REDIS_URL", "redis://localhost/zero"),
        ("REDIS_URL", "redis://:hunter2@localhost/0?unheard_of=1"),
        ("REDIS_URL", "rediss://:hunter2@localhost/0?ssl_cert_reqs=sometimes"),
        ("REDIS_URL", "redis://:hunter2@localhost/0?socket_timeout=soon"),
        ("REDIS_URL", "redis://:hunter2@localhost/0?decode_responses=true"),
        ("REDIS_URL", "redis://:hunter2@localhost/0?client_name=shop"),
        ("ALLOW_UNSAFE_DATABASE", "perhaps"),
        ("CORS_ORIGINS", "shop.example"),
        ("CORS_ORIGINS", "https://shop.example/"),
        ("CORS_ORIGINS", "https://shop.example,*"),
        ("CORS_ORIGINS", "https://user:hunter2@shop.example"),
        ("CORS_ORIGINS", "null"),
        ("ALLOWED_HOSTS", "https://shop.example"),
        ("ALLOWED_HOSTS", "shop.example,shop.example:8443"),
        ("ALLOWED_HOSTS", "*.shop.example"),
        ("JWT_ISSUER", "https://"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("ROOT_PATH", "shop"),
        ("ROOT_PATH", "//shop"),
        ("ROOT_PATH", "/shop/../x"),
        ("ROOT_PATH", "/sh op"),
        ("ROOT_PATH", "https://shop.example"),
        ("DATABASE_URL", "postgresql://orders:p@hunter2@127.0.0.1/orders"),
        ("DATABASE_URL", "postgresql://orders:hunter2/p@127.0.0.1/orders"),
        ("DATABASE_URL", "postgresql://orders:p hunter2@127.0.0.1/orders"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://orders:p[hunter2@127.0.0.1:4318"),
        ("KEEP_ALIVE", "0"),
        ("SHUTDOWN_DELAY", "-1"),
        ("SHUTDOWN_DELAY", "3601"),
        ("SHUTDOWN_DELAY", "soon"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_variable_and_keeps_the_password(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(OperatorError) as refusal:
        Settings.load()
    message = str(refusal.value)
    assert message.startswith(f"{variable}: ")
    assert "\n" not in message
    assert "hunter2" not in message
    assert refusal.value.exit_code == 2


@pytest.mark.parametrize(
    ("password", "said"), [("p hunter2", "it has a space; "), ("p@hunter2", "it has a second @; ")]
)
def test_a_character_that_a_password_must_escape_is_named(
    monkeypatch: pytest.MonkeyPatch, password: str, said: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://orders:{password}@127.0.0.1/orders")
    with pytest.raises(OperatorError) as refusal:
        Settings.load()
    how = "in a user or a password write %40 for @, %3A for :, %2F for / and %20 for a space"
    assert str(refusal.value) == f"DATABASE_URL: is not a PostgreSQL URL: {said}{how}"


@pytest.mark.parametrize(("value", "path"), [("/shop/", "/shop"), ("/", ""), ("/a/b-1.x", "/a/b-1.x")])
def test_a_root_path_has_no_slash_at_its_end(monkeypatch: pytest.MonkeyPatch, value: str, path: str) -> None:
    monkeypatch.setenv("ROOT_PATH", value)
    assert Settings.load().root_path == path


@pytest.mark.parametrize(
    ("value", "origins"),
    [
        (" https://Shop.Example , http://localhost:3000,", "https://shop.example,http://localhost:3000"),
        (
            "https://shop.example:443,http://shop.example:80,http://[::1]:443",
            "https://shop.example,http://shop.example,http://[::1]:443",
        ),
        (" * ", "*"),
        (" , ", ""),
    ],
)
def test_origins_are_spelt_as_browsers_send_them(monkeypatch: pytest.MonkeyPatch, value: str, origins: str) -> None:
    monkeypatch.setenv("CORS_ORIGINS", value)
    settings = Settings.load()
    assert settings.cors_origins == origins
    assert settings.environment().get("CORS_ORIGINS", "") == origins


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_a_blank_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name.upper(), "  ")
    with pytest.raises(OperatorError, match=f"{name.upper()}: is blank"):
        Settings.load()


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "")
    monkeypatch.setenv("DATABASE_URL", "")
    assert Settings.load().port == 8000
    assert Settings.load().database_url is None


def test_the_command_line_wins_over_the_environment_and_that_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("PORT=8001\nLOG_LEVEL=debug\nSOMETHING_ELSE=1\n")
    assert Settings.load().port == 8001
    monkeypatch.setenv("PORT", "8002")
    assert Settings.load().port == 8002
    assert Settings.load(port=8003).port == 8003
    assert Settings.load(port=None).log_level == "debug"


def test_a_file_that_begins_with_a_byte_order_mark_loses_no_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path(".env").write_text("PORT=8003\n", "utf-8-sig")
    (tmp_path / "url").write_text("postgresql://db/orders\r\n", "utf-8-sig")
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))
    assert (Settings.load().port, Settings.load().database_url) == (8003, "postgresql://db/orders")


def test_an_empty_file_with_a_secret_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("\n")
    monkeypatch.setenv("DATABASE_URL_FILE", str(tmp_path / "url"))
    with pytest.raises(OperatorError, match=f"DATABASE_URL_FILE: {tmp_path}/url is empty"):
        Settings.load()


def test_the_settings_as_environment_give_the_same_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.load(port=8005, database_url="postgresql://localhost/orders", log_format="json")
    for variable, value in settings.environment().items():
        monkeypatch.setenv(variable, value)
    assert Settings.load() == settings


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("LOG_LEVEL=info\nPORT='9510\n", ".env: line 2 is not NAME=value, or leaves a quote open"),
        ("=9510\n", ".env: line 1 is not NAME=value, or leaves a quote open"),
        (None, ".env is a directory, where a file with settings belongs: remove it"),
    ],
)
def test_an_env_file_that_cannot_be_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, written: str | None, says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if written is None:
        Path(".env").mkdir()
    else:
        Path(".env").write_text(written)
    with pytest.raises(OperatorError) as refusal:
        Settings.load()
    assert (str(refusal.value), refusal.value.exit_code) == (says, 2)


def test_a_working_directory_that_cannot_be_looked_into_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As by `sudo -u orders` in the home of root. Here root cannot look either."""
    monkeypatch.chdir(tmp_path)
    Path(".env").symlink_to("n" * 300)
    with pytest.raises(OperatorError, match="cd to a folder that this user may enter") as refusal:
        Settings.load()
    assert refusal.value.exit_code == 2


def test_the_text_of_the_settings_contains_no_password() -> None:
    assert "hunter2" not in repr(Settings.load(database_url="postgresql://a:hunter2@localhost/orders"))


def test_the_example_file_names_every_variable_and_sets_none() -> None:
    example = Path(__file__).parents[2].joinpath(".env.example").read_text()
    for variable in VARIABLES:
        assert f"#{variable}=" in example
    assert not [line for line in example.splitlines() if line and not line.startswith("#")]
