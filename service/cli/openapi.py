"""`orders openapi`: the OpenAPI document, from the same declarations that serve the routes."""

from service.app import create_app
from service.cli import output
from service.settings import Settings


def openapi() -> None:
    """Print the OpenAPI document. It needs no server and no settings."""
    # Never connected to: an application connects when it starts.
    settings = Settings.model_construct(
        database_url="postgresql://nowhere.invalid/orders", redis_url="redis://nowhere.invalid/0"
    )
    output.json(create_app(settings).openapi())
