"""The settings as an operator may see them: where each value comes from, and no secret."""

import json
import os
import re

from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from console.parts import Setting
from service.settings import Settings

# `orders up` and `orders serve` hand all settings on as environment variables, and say here where they come from.
TOLD_BY_PARENT = "ORDERS_SETTINGS_FROM"

# In front of the host, or among the parameters.
_PASSWORD = re.compile(r"(://[^:/?]*:).*(?=@)|(password=)[^&\s]*")


def shown(settings: Settings) -> list[Setting]:
    """Each setting. Of a URL the password is left out."""
    source = sources(settings)
    return [
        Setting(name.upper(), _value(name, getattr(settings, name)), source[name.upper()], Settings.meaning(name))
        for name in Settings.model_fields
    ]


def _value(name: str, value: object) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "1" if value else "0"  # as the variable is written
    return _PASSWORD.sub(r"\1\2***", str(value)) if name.endswith("_url") else str(value)


def sources(settings: Settings) -> dict[str, str]:
    """Where the value of each setting comes from, by the name of its variable."""
    told = json.loads(os.environ.get(TOLD_BY_PARENT, "{}"))
    in_environment, in_file = EnvSettingsSource(Settings)(), DotEnvSettingsSource(Settings)()
    found = {}
    for field in Settings.model_fields:
        name = field.upper()
        if name in told:
            found[name] = told[name]
        elif field not in settings.model_fields_set:
            found[name] = "default"
        elif field in in_environment:
            found[name] = "environment"
        elif os.environ.get(f"{name}_FILE"):
            found[name] = f"the file that {name}_FILE names"
        else:
            found[name] = ".env" if field in in_file else "command line"
    return found


def handed_on(settings: Settings, **own: str) -> dict[str, str]:
    """The settings as environment variables for a child process; `own` are the caller's own, by variable.

    The child then knows where each value comes from.
    """
    told = sources(settings) | dict.fromkeys(own, "orders up")
    return settings.environment() | own | {TOLD_BY_PARENT: json.dumps(told)}
