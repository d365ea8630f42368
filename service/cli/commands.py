"""The `orders` command with every subcommand."""

import ast
from importlib import resources
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from orders import imported
from service.version import VERSION

# The subcommands: each with the function below service/cli that runs it, and an example for its help.
COMMANDS = {
    "up": ("run.up", "orders up --port 8001 --data-dir /srv/orders"),
    "serve": ("run.serve", "DATABASE_URL=postgresql://... REDIS_URL=redis://... orders serve --processes 2"),
    "work": ("run.work", "DATABASE_URL=postgresql://... REDIS_URL=redis://... orders work"),
    "migrate": ("run.migrate", "DATABASE_URL=postgresql://... orders migrate"),
    "import": ("importing.import_", "orders import shop/ --currency GBP"),
    "imports": ("records.imports", "orders imports --json"),
    "status": ("status.status", "orders status --watch"),
    "replay": ("read_tables.replay", "orders replay sales"),
    "verify": ("read_tables.verify", "orders verify --json"),
    "mirror": ("mirror.mirror", "orders mirror sqlite:///./app.db --projection shop"),
    "explain": ("past.explain", "orders explain orders/0190... --as-of 2026-11-22T13:51:00Z --diff"),
    "doctor": ("doctor.doctor", "orders doctor --json"),
    "events": ("log.events", "orders events --follow"),
    "openapi": ("documents.openapi", "orders openapi > openapi.json"),
    "sbom": ("documents.sbom", "orders sbom > orders.cdx.json"),
    "whoami": ("keys.whoami", "ORDERS_API_KEY_FILE=shop.key orders whoami"),
    "audit": ("records.audit", "orders audit --limit 10"),
}
# Those with subcommands of their own.
GROUPS = {"parked": "parked.app", "jobs": "jobs.app", "keys": "keys.app"}


class OnDemand(TyperGroup):
    """Imports the code of a subcommand when it is run, because the drivers and servers of all take seconds."""

    def list_commands(self, ctx: Any) -> list[str]:
        return [*COMMANDS, *GROUPS]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The line of `orders --help` about the subcommand with this name; None if there is none."""
        if cmd_name in GROUPS:
            return TyperCommand(cmd_name, help=_documented(f"{cmd_name}.{cmd_name}"))
        place, _ = COMMANDS.get(cmd_name, (None, None))
        return place and TyperCommand(cmd_name, help=_documented(place))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The subcommand that the command line names, ready to run, with its arguments."""
        name, _, arguments = super().resolve_command(ctx, args)
        if name in GROUPS:
            return name, get_command(_function(GROUPS[name])), arguments
        place, example = COMMANDS[str(name)]
        alone = typer.Typer(add_completion=False)
        alone.command(name, epilog=f"Example: {example}")(_function(place))
        return name, get_command(alone), arguments


def _function(place: str) -> Any:
    module, _, name = place.partition(".")
    return getattr(imported(f"service.cli.{module}"), name)


def _documented(place: str) -> str | None:
    """The docstring of a function, from the text of its module."""
    module, _, name = place.partition(".")
    code = ast.parse((resources.files("service.cli") / f"{module}.py").read_text("utf-8"))
    functions = (it for it in code.body if isinstance(it, ast.FunctionDef) and it.name == name)
    return ast.get_docstring(next(functions))


app = typer.Typer(
    name="orders", cls=OnDemand, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"orders {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    """Run, feed and examine an event-sourced order service. Start with `orders up`."""
