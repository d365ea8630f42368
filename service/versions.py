"""The versions of the service, its servers and its most important libraries."""

import platform
import re
from collections.abc import Iterator
from importlib import metadata

import redis

from console.parts import Version
from database.sessions import SERVER_VERSION_MIN
from projector import bell
from service.version import VERSION

_LIBRARIES = ("FastAPI", "SQLAlchemy", "psycopg", "pydantic", "Dramatiq", "uvicorn")
_OLDEST = re.compile(r"(?P<name>[a-z-]+)\S*>=(?P<oldest>[0-9.]+)")


def versions(redis_url: str, postgresql: str) -> Iterator[Version]:
    """Each version, with the oldest one that the service works with. `postgresql` is the version of that server."""
    about = metadata.metadata("orders")
    oldest = {it["name"]: it["oldest"] for it in map(_OLDEST.match, about.get_all("Requires-Dist", ())) if it}
    yield Version("orders", VERSION)
    yield Version("PostgreSQL", postgresql, str(SERVER_VERSION_MIN))
    yield _of_redis(redis_url)
    yield Version("Python", platform.python_version(), about["Requires-Python"].removeprefix(">="))
    for name in _LIBRARIES:
        yield Version(name, metadata.version(name), oldest[name.lower()])


def _of_redis(url: str) -> Version:
    try:
        with bell.client(url) as client:
            server = client.info("server")
    except (redis.RedisError, OSError):
        return Version("Redis or Valkey", "does not answer")
    # Valkey tells the version of Redis that it stands for, too.
    name = "valkey" if "valkey_version" in server else "redis"
    return Version(name.capitalize(), str(server[f"{name}_version"]))
