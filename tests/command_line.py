"""The subcommands of `orders`."""

from typing import Any

from typer.main import get_command

from service.cli.commands import app


def subcommands() -> dict[str, Any]:
    """Every subcommand by its name, with its parameters and, if it is a group, its own `commands`."""
    group: Any = get_command(app)
    return {name: group.get_command(None, name) for name in group.list_commands(None)}
