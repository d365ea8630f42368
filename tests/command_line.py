"""The subcommands of `orders`."""

from typing import Any

from typer.main import get_command

from service.cli.commands import app


def subcommands() -> dict[str, Any]:
    """Every subcommand by its name, with its parameters and, if it is a group, its own `commands`."""
    group: Any = get_command(app)
    context = group.make_context("orders", [], resilient_parsing=True)
    return {name: group.resolve_command(context, [name])[1] for name in group.list_commands(context)}
