"""The configuration: environment variables or `.env`, checked once, at the start."""

import os
import re
import urllib.parse
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from database.urls import defect_of
from service.errors import OperatorError

POSTGRES_SCHEMES = ("postgresql://", "postgres://")
# Databases that can have a mirror of the read tables, and no log.
MIRROR_SCHEMES = ("sqlite:", "mysql:", "mysql+", "mariadb:", "mariadb+")
# What holds a password may stand in a file that <NAME>_FILE names, so that no process list shows it.
SECRETS = ("database_url", "redis_url", "query_database_url")
# Signatures with a shared secret (HS256 ...) are not taken: whoever can check a token could make one.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
TOKEN_ROLES = ("customer", "staff", "operator")
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?")
_ROOT_PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+){1,20}")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def _postgres_url(value: str) -> str:
    if value.startswith(MIRROR_SCHEMES):
        raise ValueError(
            "must start with postgresql://, because the log needs PostgreSQL; "
            "to have the read tables in SQLite or MySQL too, run `orders mirror URL`"
        )
    if not value.startswith(POSTGRES_SCHEMES):
        raise ValueError("must start with postgresql://")
    if defect := defect_of(value):
        raise ValueError(f"is not a PostgreSQL URL: {defect}")
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
    if parts.query:
        # Only URLs with options need it, and importing it slows down the start of every command.
        from redis import ConnectionPool, RedisError

        try:
            ConnectionPool.from_url(value).make_connection()  # which connects to nothing yet
        except (TypeError, ValueError, RedisError) as error:
            raise ValueError(f"is not a Redis URL: {error}") from None
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


def _issuer_url(value: str) -> str:
    parts = urllib.parse.urlsplit(value)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"}):
        return value
    raise ValueError("must start with https://")


def _algorithms(value: str) -> str:
    names = [it.strip() for it in value.split(",") if it.strip()]
    if unknown := [it for it in names if it not in ALGORITHMS]:
        raise ValueError(f"{unknown[0]!r} is not accepted: use {', '.join(ALGORITHMS)}")
    if not names:
        raise ValueError("names no algorithm")
    return ",".join(names)


def _role_map(value: str) -> str:
    for pair in filter(None, value.split(",")):
        name, _, role = pair.partition("=")
        if not name.strip() or role.strip() not in TOKEN_ROLES:
            raise ValueError(f"{pair!r} must be <value of the claim>=<role>, a role of {', '.join(TOKEN_ROLES)}")
    return value


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
    no_auth: bool = False  # everybody who reaches the port may do everything: for loopback alone
    allowed_hosts: str | None = None  # Host headers that are served, beside loopback and the port's own address
    behind_proxy: bool = False  # a proxy that ends TLS stands in front, and adds to X-Forwarded-For
    public_catalog: bool = False  # products are read without a key
    jwt_issuer: Annotated[str, AfterValidator(_issuer_url)] | None = None  # whose tokens are taken, beside API keys
    jwt_audience: str | None = None
    jwt_jwks_url: Annotated[str, AfterValidator(_issuer_url)] | None = None  # else the issuer's configuration names it
    jwt_algorithms: Annotated[str, AfterValidator(_algorithms)] = "RS256,PS256,ES256,EdDSA"
    jwt_role_claim: str | None = None  # whose values JWT_ROLE_MAP turns into roles; dots lead into objects
    jwt_role_map: Annotated[str, AfterValidator(_role_map)] | None = None
    docs: Annotated[Literal["on", "off"], BeforeValidator(_lower)] = "on"  # /docs, /openapi.json and /problems
    writes_per_minute: Annotated[int, Field(ge=0)] = 600  # of an account, in one process; 0: no limit
    reads_per_minute: Annotated[int, Field(ge=0)] = 3_000
    failures_per_minute: Annotated[int, Field(ge=0)] = 30  # wrong keys of an address, in one process; 0: no limit
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    cors_origins: Annotated[str, AfterValidator(_origins)] | None = None  # whose pages may call the API from a browser
    root_path: Annotated[str, AfterValidator(_root_path)] | None = None  # where a proxy serves the API
    console: bool = False  # serve the pages for operators at /console
    rebuild: Annotated[Literal["auto", "manual"], BeforeValidator(_lower)] = "auto"  # who rebuilds outdated read tables
    keep_alive: Annotated[int, Field(ge=1, le=3600)] = 75  # seconds until the API closes an idle connection
    shutdown_delay: Annotated[int, Field(ge=0, le=3600)] = 0  # seconds from SIGTERM until the port closes
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None  # where the worker serves /metrics
    metrics_host: str = "127.0.0.1"  # and at which address
    otel_exporter_otlp_endpoint: str | None = None  # where traces go; needs the extra `otel`
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = 0.01  # the share of requests that are recorded
    data_dir: Path = Path("./data")
    log_format: Annotated[Literal["text", "json"], BeforeValidator(_lower)] = "text"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"

    @model_validator(mode="after")
    def _issuer_and_audience(self) -> Self:
        if (self.jwt_issuer is None) != (self.jwt_audience is None):
            raise ValueError("JWT_ISSUER and JWT_AUDIENCE must be set both, or neither")
        return self

    @classmethod
    def load(cls, **overrides: Any) -> Self:
        """Read the environment and `.env`; overrides (field=value, from the command line) win, None does not count.

        Raises OperatorError with exit code 2, naming every variable that is wrong and why.
        """
        try:
            return cls(**_from_files() | {name: value for name, value in overrides.items() if value is not None})
        except ValidationError as error:
            wrong = "; ".join(_explain(detail) for detail in error.errors(include_url=False, include_input=False))
            raise OperatorError(wrong, exit_code=2) from None
        except UnicodeDecodeError:
            raise OperatorError(".env is not UTF-8 text", exit_code=2) from None

    def environment(self) -> dict[str, str]:
        """Return the settings as environment variables, for a child process that is to have the same."""
        return {name.upper(): str(value) for name, value in self.model_dump(exclude_none=True).items()}


def _from_files() -> dict[str, str]:
    """The secrets whose variables name files: DATABASE_URL_FILE for DATABASE_URL. Raises OperatorError."""
    found = {}
    for name in SECRETS:
        path = os.environ.get(f"{name.upper()}_FILE")
        if path and not os.environ.get(name.upper()):
            try:
                found[name] = Path(path).read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
                raise OperatorError(f"{name.upper()}_FILE: cannot read {path}: {reason}", exit_code=2) from None
    return found


def _explain(detail: ErrorDetails) -> str:
    reason = detail["msg"].removeprefix("Value error, ")
    if not detail["loc"]:
        return reason
    variable = str(detail["loc"][0]).upper()
    return f"{variable}: {reason[0].lower()}{reason[1:]}"
