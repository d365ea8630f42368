"""The settings as an operator may see them: where each value comes from, and no secret."""

import os
import re
from urllib.parse import urlsplit

from service.settings import Settings

_PASSWORD = re.compile(r"(password=)[^&\s]*")


def shown(settings: Settings) -> list[tuple[str, str, str]]:
    """Name, value and source of each setting. Of a URL the password is left out."""
    return [(name.upper(), _value(name, value), _source(name, value)) for name, value in _values(settings)]


def _values(settings: Settings) -> list[tuple[str, object]]:
    return [(name, getattr(settings, name)) for name in Settings.model_fields]


def _value(name: str, value: object) -> str:
    if value is None:
        return "not set"
    return _masked(str(value)) if name.endswith("_url") else str(value)


def _masked(url: str) -> str:
    """The URL without its password, also when that stands among the parameters."""
    try:
        password = urlsplit(url).password
    except ValueError:
        return "set"
    if password is not None:
        head, _, rest = url.rpartition("@")
        url = f"{head[: len(head) - len(password)]}***@{rest}" if head.endswith(password) else "set"
    return _PASSWORD.sub(r"\1***", url)


def _source(name: str, value: object) -> str:
    if value == Settings.model_fields[name].default:
        return "default"
    return "environment" if name.upper() in os.environ else ".env or command line"
