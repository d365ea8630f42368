"""The `orders` command: every subcommand, and the end of every error that an operator can cause."""

import sys
from typing import Annotated

import typer

from service.cli import doctor, importing, log, openapi, parked, past, read_tables, run, status
from service.cli.failures import explain
from service.version import VERSION

app = typer.Typer(
    name="orders",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
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


# Every subcommand is registered here; the files of service/cli/ hold functions.
app.command(epilog="Example: orders up --port 8001 --data-dir /srv/orders")(run.up)
app.command(epilog="Example: DATABASE_URL=postgresql://... REDIS_URL=redis://... orders serve --processes 2")(run.serve)
app.command(epilog="Example: DATABASE_URL=postgresql://... REDIS_URL=redis://... orders work")(run.work)
app.command(epilog="Example: DATABASE_URL=postgresql://... orders migrate")(run.migrate)
app.command("import", epilog="Example: orders import shop/ --currency GBP")(importing.import_)
app.command(epilog="Example: orders status --watch")(status.status)
app.command(epilog="Example: orders replay sales")(read_tables.replay)
app.command(epilog="Example: orders verify --json")(read_tables.verify)
app.command(epilog="Example: orders explain orders/0190... --as-of 2026-11-22T13:51:00Z --diff")(past.explain)
app.command(epilog="Example: orders doctor --json")(doctor.doctor)
app.command(epilog="Example: orders events --follow")(log.events)
app.command(epilog="Example: orders openapi > openapi.json")(openapi.openapi)

of_parked = typer.Typer()
of_parked.callback(invoke_without_command=True, epilog="Example: orders parked --json")(parked.parked)
of_parked.command(epilog="Example: orders parked retry --group 1")(parked.retry)
of_parked.command(epilog='Example: orders parked skip order-0190... --reason "an order of the load test"')(parked.skip)
app.add_typer(of_parked, name="parked")


def main() -> None:
    """Run the command line; the entry point of `orders`."""
    try:
        app(prog_name="orders")
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        line, exit_code = explained
        print(f"orders: {line}", file=sys.stderr)
        sys.exit(exit_code)
