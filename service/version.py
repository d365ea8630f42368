"""The version of the service, as `orders --version` and the OpenAPI document tell it."""

VERSION = "0.1.0"  # pyproject.toml has the same
