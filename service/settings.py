"""The configuration: environment variables or `.env`, checked once, at the start."""

import re
import urllib.parse
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.errors import OperatorError

POSTGRES_SCHEMES = ("postgresql://", "postgres://")
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?")
_ROOT_PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+){1,20}")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def _postgres_url(value: str) -> str:
    if not value.startswith(POSTGRES_SCHEMES):
        raise ValueError("must start with postgresql://")
    try:
        parameters = conninfo_to_dict(value)
    except psycopg.ProgrammingError as error:
        # What follows the colon quotes the URL, and may quote its password.
        raise ValueError(f"is not a PostgreSQL URL: {str(error).partition(':')[0].strip()}") from None
    for port in str(parameters.get("port") or "5432").split(","):
        if not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"is not a PostgreSQL URL: {port!r} is no port")
    return value


def _redis_url(value: str) -> str:
    if not value.startswith(REDIS_SCHEMES):
        raise ValueError("must start with redis://, rediss:// or unix://")
    parts = urllib.parse.urlsplit(value)
    try:
        port_is_wrong = parts.port == 0
    except ValueError:
        port_is_wrong = True
    # redis-py takes `/zero` for database 0 without a word.
    database = parts.path.lstrip("/") if parts.scheme != "unix" else ""
    if port_is_wrong or (database and not database.isdecimal()):
        raise ValueError("is not a Redis URL: redis://[user:password@]host[:port][/database number]")
    return value


def _origins(value: str) -> str:
    if value.strip() == "*":
        return "*"
    origins = [_origin(it.strip().lower()) for it in value.split(",") if it.strip()]
    return ",".join(origins)


def _origin(text: str) -> str:
    """Check an origin, and spell it as browsers do: without the port that its scheme has anyway."""
    match = _ORIGIN.fullmatch(text)
    if match is None:
        raise ValueError("takes origins such as https://shop.example (no path, no slash at the end), or * alone")
    scheme, host, port = match.groups()
    return f"{scheme}://{host}" + (port if port and port != _DEFAULT_PORTS.get(scheme) else "")


def _root_path(value: str) -> str:
    path = value.strip().rstrip("/")
    if path and not _ROOT_PATH.fullmatch(path):
        raise ValueError("takes a path such as /shop, of letters, digits and - . _ ~")
    return path


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


PostgresUrl = Annotated[str, AfterValidator(_postgres_url)]
RedisUrl = Annotated[str, AfterValidator(_redis_url)]


class Settings(BaseSettings):
    """What the environment says; every field's variable is its name in capitals."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,  # `PORT=` in a compose file means "not set"
        extra="ignore",  # other programs have variables too
        frozen=True,
        hide_input_in_errors=True,
    )

    # Not in the repr: a URL holds a password.
    database_url: PostgresUrl | None = Field(default=None, repr=False)
    redis_url: RedisUrl | None = Field(default=None, repr=False)
    query_database_url: PostgresUrl | None = Field(default=None, repr=False)  # a replica for the read side
    allow_unsafe_database: bool = False  # start on a server that may lose what it has acknowledged
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    cors_origins: Annotated[str, AfterValidator(_origins)] | None = None  # whose pages may call the API from a browser
    root_path: Annotated[str, AfterValidator(_root_path)] | None = None  # where a proxy serves the API
    console: bool = False  # serve the pages for operators at /console
    rebuild: Annotated[Literal["auto", "manual"], BeforeValidator(_lower)] = "auto"  # who rebuilds outdated read tables
    shutdown_delay: Annotated[int, Field(ge=0, le=3600)] = 0  # seconds from SIGTERM until the port closes
    data_dir: Path = Path("./data")
    log_format: Annotated[Literal["text", "json"], BeforeValidator(_lower)] = "text"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read the environment and `.env`; overrides (field=value, from the command line) win, None does not count.

        Raises OperatorError with exit code 2, naming every variable that is wrong and why.
        """
        try:
            return cls(**{name: value for name, value in overrides.items() if value is not None})
        except ValidationError as error:
            wrong = "; ".join(_explain(detail) for detail in error.errors(include_url=False, include_input=False))
            raise OperatorError(wrong, exit_code=2) from None
        except UnicodeDecodeError:
            raise OperatorError(".env is not UTF-8 text", exit_code=2) from None

    def environment(self) -> dict[str, str]:
        """Return the settings as environment variables, for a child process that is to have the same."""
        return {name.upper(): str(value) for name, value in self.model_dump(exclude_none=True).items()}


def _explain(detail: ErrorDetails) -> str:
    variable = str(detail["loc"][0]).upper()
    reason = detail["msg"].removeprefix("Value error, ")
    return f"{variable}: {reason[0].lower()}{reason[1:]}"
