"""The configuration: environment variables or `.env`, checked once, at the start."""

import logging
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.errors import MISUSE, OperatorError
from service.urls import http_url, issuer_url, postgres_url, redis_url

# A setting with a password may stand in a file that <NAME>_FILE names, so that no process list shows it.
SECRETS = ("database_url", "redis_url", "query_database_url")
# Signatures with a shared secret (HS256 ...) are not taken: a service that can check such a token could also make one.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
TOKEN_ROLES = ("customer", "staff", "operator")

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?")
_ROOT_PATH = re.compile(r"(/(?!\.{1,2}(/|$))[A-Za-z0-9._~-]+){1,20}")
_HOST = re.compile(r"\*|[a-z0-9._-]*[a-z0-9]|[0-9a-f:]+")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def _hosts(value: str) -> str:
    names = [it.strip().lower() for it in value.split(",") if it.strip()]
    if wrong := [it for it in names if not _HOST.fullmatch(it)]:
        raise ValueError(f"{wrong[0]!r} is no name such as shop.example (no scheme, port or path), nor * for all")
    return ",".join(names)


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


PostgresUrl = Annotated[str, AfterValidator(postgres_url)]
RedisUrl = Annotated[str, AfterValidator(redis_url)]


class Settings(BaseSettings):
    """The settings of the environment; each field's variable is its name in capitals."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8-sig",  # some editors begin a file with a byte order mark
        env_ignore_empty=True,  # `PORT=` in a compose file means "not set"
        extra="ignore",  # other programs have variables too
        frozen=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    # The texts below the fields are those of docs/settings.md, of the console, and of the options' help.
    # Not in the repr: a URL holds a password.
    database_url: PostgresUrl | None = Field(default=None, repr=False)
    """the log and the read tables: `postgresql://user:password@host:5432/database`. Anything that libpq takes:
    sockets, `sslmode=`, several hosts"""
    redis_url: RedisUrl | None = Field(default=None, repr=False)
    """the broker: `redis://`, `rediss://` or `unix://`. Redis or Valkey; it carries no data"""
    query_database_url: PostgresUrl | None = Field(default=None, repr=False)
    """a replica for the read side of the API"""
    allow_unsafe_database: bool = False
    """`1` starts on a PostgreSQL with `fsync`, `full_page_writes` or `synchronous_commit` off, which may lose in a
    crash what was answered with 201. For tests and throw-away data"""
    no_auth: bool = False
    """`1` turns API keys off: every client that reaches the port may do everything. Allowed on loopback only"""
    allowed_hosts: Annotated[str, AfterValidator(_hosts)] | None = None
    """names in the `Host` header that are served, with commas between them; loopback and the address that the
    client connected to are always served; `*` for all"""
    behind_proxy: bool = False
    """`1`: a proxy that ends TLS stands in front, and adds the client's address to `X-Forwarded-For`. Needed to
    listen on any address but loopback"""
    public_catalog: bool = False
    """`1`: products are read without a key"""
    jwt_issuer: Annotated[str, AfterValidator(issuer_url)] | None = None
    """the OpenID Connect issuer whose tokens are taken, beside API keys; with `JWT_AUDIENCE`"""
    jwt_audience: str | None = None
    """the audience that tokens must name"""
    jwt_jwks_url: Annotated[str, AfterValidator(issuer_url)] | None = None
    """where the issuer's keys are; without it the issuer's own configuration says so"""
    jwt_algorithms: Annotated[str, AfterValidator(_algorithms)] = "RS256,PS256,ES256,EdDSA"
    """the signatures that are taken; those with a shared secret (HS256) never are"""
    jwt_role_claim: str | None = None
    """the claim whose values `JWT_ROLE_MAP` turns into roles; `realm_access.roles` leads into an object. Without it
    every subject is a customer"""
    jwt_role_map: Annotated[str, AfterValidator(_role_map)] | None = None
    """the role for each value of that claim: `shop-admin=operator,clerk=staff`"""
    docs: Annotated[Literal["on", "off"], BeforeValidator(_lower)] = "on"
    """`off` leaves out `/docs`, `/openapi.json` and `/problems`"""
    writes_per_minute: Annotated[int, Field(ge=0)] = 600
    """commands of an account in a minute, in each API process; 100 may come at once. `0`: no limit"""
    reads_per_minute: Annotated[int, Field(ge=0)] = 3_000
    """reads of an account, likewise; 500 may come at once"""
    failures_per_minute: Annotated[int, Field(ge=0)] = 30
    """requests of an address in a minute whose key or token is wrong, in each API process. `0`: no limit"""
    port: Annotated[int, Field(ge=1, le=65535)] = 8000
    """the API's port"""
    cors_origins: Annotated[str, AfterValidator(_origins)] | None = None
    """origins whose pages may call the API from a browser, with commas between them:
    `https://shop.example,http://localhost:3000`; `*` for all"""
    root_path: Annotated[str, AfterValidator(_root_path)] | None = None
    """the path at which a proxy serves the API, such as `/shop`, if the proxy takes it off each request"""
    console: bool = False
    """`1` serves the pages for operators at `/console`. `orders up` does so by itself on a loopback address"""
    rebuild: Annotated[Literal["auto", "manual"], BeforeValidator(_lower)] = "auto"
    """who rebuilds the tables of a projection that another release built: `auto`, the workers; `manual`, an
    operator with `orders replay`"""
    keep_alive: Annotated[int, Field(ge=1, le=3600)] = 75
    """seconds (1 to 3,600) until `orders serve` closes a connection on which no request comes. More than clients
    and the proxy in front keep an idle connection"""
    shutdown_delay: Annotated[int, Field(ge=0, le=3600)] = 0
    """seconds (3,600 at most) from SIGTERM until `orders serve` closes its port. Meanwhile `/readyz` answers 503
    with the reason `stopping`, and everything else goes on, so that load balancers send no more before the port
    closes. `orders up` does not use it"""
    metrics_port: Annotated[int, Field(ge=1, le=65535)] | None = None
    """the port on which `orders work` serves its metrics at `/metrics`"""
    metrics_host: str = "127.0.0.1"
    """the address of that port"""
    otel_exporter_otlp_endpoint: Annotated[str, AfterValidator(http_url)] | None = None
    """the collector that takes traces by OTLP over HTTP, such as `http://127.0.0.1:4318`. Needs the extra `otel`"""
    otel_traces_sampler_arg: Annotated[float, Field(ge=0, le=1)] = 0.01
    """the share of requests that are recorded, from 0 to 1, unless the caller decides"""
    data_dir: Path = Path("./data")
    """where `orders up` keeps its servers' data; the other commands look there for a running `orders up` when
    `DATABASE_URL` and `REDIS_URL` are not set"""
    log_format: Annotated[Literal["text", "json"], BeforeValidator(_lower)] = "text"
    """`text` for people, `json` for machines: one object a line, on stderr"""
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = "info"
    """`debug`, `info`, `warning`, `error`: the least that is logged"""

    @field_validator("*", mode="before")
    @classmethod
    def _not_blank(cls, value: Any) -> Any:
        if isinstance(value, str) and value.isspace():
            raise ValueError("is blank")
        return value

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
        logging.getLogger("dotenv.main").handlers = [_Unread()]
        try:
            if Path(".env").is_dir():
                raise OperatorError(".env is a directory, where a file with settings belongs: remove it", MISUSE)
            return cls(**_from_files() | {name: value for name, value in overrides.items() if value is not None})
        except ValidationError as error:
            wrong = "; ".join(_explain(detail) for detail in error.errors(include_url=False, include_input=False))
            raise OperatorError(wrong, exit_code=MISUSE) from None
        except UnicodeDecodeError:
            raise OperatorError(".env is not UTF-8 text", exit_code=MISUSE) from None
        except OSError as error:
            here = "let this user read it, or cd to a folder that this user may enter"
            raise OperatorError(f".env in the working directory: {error.strerror}: {here}", exit_code=MISUSE) from None

    @classmethod
    def meaning(cls, name: str) -> str:
        """The meaning of a setting: the text below its field, in one line."""
        return " ".join((cls.model_fields[name].description or "").split())

    def environment(self) -> dict[str, str]:
        """Return the settings as environment variables, for a child process that is to have the same."""
        return {name.upper(): str(value) for name, value in self.model_dump(exclude_none=True).items()}


class _Unread(logging.Handler):
    """Refuses a line of `.env` that python-dotenv cannot read: without this it logs the line, and skips it."""

    def emit(self, record: logging.LogRecord) -> None:
        raise OperatorError(
            f".env: line {next(iter(record.args or ()), '')} is not NAME=value, or leaves a quote open",
            exit_code=MISUSE,
        )


def secret_in(path: Path) -> str:
    """The secret that stands in a file. Raises OperatorError."""
    try:
        secret = path.read_text("utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise OperatorError(f"cannot read {path}: {reason}", exit_code=MISUSE) from None
    if not secret:
        raise OperatorError(f"{path} is empty", exit_code=MISUSE)
    return secret


def _from_files() -> dict[str, str]:
    """The secrets whose variables name files: DATABASE_URL_FILE for DATABASE_URL. Raises OperatorError."""
    found = {}
    for name in SECRETS:
        path = os.environ.get(f"{name.upper()}_FILE")
        if path and not os.environ.get(name.upper()):
            try:
                found[name] = secret_in(Path(path))
            except OperatorError as error:
                raise OperatorError(f"{name.upper()}_FILE: {error}", exit_code=MISUSE) from None
    return found


def _explain(detail: ErrorDetails) -> str:
    reason = detail["msg"].removeprefix("Value error, ")
    if not detail["loc"]:
        return reason
    variable = str(detail["loc"][0]).upper()
    return f"{variable}: {reason[0].lower()}{reason[1:]}"
