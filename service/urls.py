"""URLs among the settings: each check returns the value, or raises ValueError with a reason that quotes no password."""

import re
import urllib.parse

from database.urls import defect_of

POSTGRES_SCHEMES = ("postgresql://", "postgres://")
REDIS_SCHEMES = ("redis://", "rediss://", "unix://")
# Databases that can have a mirror of the read tables, and no log.
MIRROR_SCHEMES = ("sqlite:", "mysql:", "mysql+", "mariadb:", "mariadb+")
# Options of a URL that would change how Redis's replies are read, or the name by which workers are found.
_REDIS_OPTIONS = {"client_name", "decode_responses", "encoding", "legacy_responses"}


def postgres_url(value: str) -> str:
    """A URL of the log, or of a replica."""
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


def redis_url(value: str) -> str:
    """A URL of Redis or Valkey."""
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
    if changed := _REDIS_OPTIONS & urllib.parse.parse_qs(parts.query, keep_blank_values=True).keys():
        raise ValueError(f"must not have the option {min(changed)}, which the service sets itself")
    if parts.query:
        # Only URLs with options need it, and importing it slows down the start of every command.
        from redis import ConnectionPool, RedisError

        try:
            ConnectionPool.from_url(value).make_connection()  # which connects to nothing yet
        except (TypeError, ValueError, RedisError) as error:
            raise ValueError(f"is not a Redis URL: {error}") from None
    return value


def issuer_url(value: str) -> str:
    """A URL of an issuer of tokens: by TLS, or on this machine."""
    parts = urllib.parse.urlsplit(value)
    is_local = parts.scheme == "http" and parts.hostname in {"127.0.0.1", "::1", "localhost"}
    if is_local or (parts.scheme == "https" and parts.hostname):
        return value
    raise ValueError("must start with https://, and name a host")


def http_url(value: str) -> str:
    """A URL of a collector."""
    # urlsplit refuses some values too.
    if urllib.parse.urlsplit(value).scheme not in {"http", "https"} or not re.match(r"https?://[^/]", value):
        raise ValueError("must start with http:// or https://, and name a host")
    return value
