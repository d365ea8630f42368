"""The `orders` command with every subcommand."""

from typing import Annotated

import typer

from service.cli import (
    audit,
    doctor,
    importing,
    jobs,
    keys,
    log,
    mirror,
    openapi,
    parked,
    past,
    read_tables,
    run,
    sbom,
    status,
)
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
app.command(epilog="Example: orders mirror sqlite:///./app.db --projection shop")(mirror.mirror)
app.command(epilog="Example: orders explain orders/0190... --as-of 2026-11-22T13:51:00Z --diff")(past.explain)
app.command(epilog="Example: orders doctor --json")(doctor.doctor)
app.command(epilog="Example: orders events --follow")(log.events)
app.command(epilog="Example: orders openapi > openapi.json")(openapi.openapi)
app.command(epilog="Example: orders sbom > orders.cdx.json")(sbom.sbom)

of_parked = typer.Typer()
of_parked.callback(invoke_without_command=True, epilog="Example: orders parked --json")(parked.parked)
of_parked.command(epilog="Example: orders parked retry --group 1")(parked.retry)
of_parked.command(epilog='Example: orders parked skip order-0190... --reason "an order of the load test"')(parked.skip)
app.add_typer(of_parked, name="parked")

of_jobs = typer.Typer()
of_jobs.callback(invoke_without_command=True, epilog="Example: orders jobs --json")(jobs.jobs)
of_jobs.command(epilog='Example: orders jobs start replay shop --reason "wrong sums" --wait')(jobs.start)
of_jobs.command(epilog="Example: orders jobs wait 0190...")(jobs.wait)
app.add_typer(of_jobs, name="jobs")

of_keys = typer.Typer(no_args_is_help=True)
of_keys.callback(epilog="Example: orders keys create --name shop --role staff --expires 90d")(keys.keys)
of_keys.command(epilog="Example: orders keys create --name shop --role staff --expires 90d")(keys.create)
of_keys.command("list", epilog="Example: orders keys list --json")(keys.list_)
of_keys.command(epilog="Example: orders keys rotate Ab12Cd34 --overlap 24h")(keys.rotate)
of_keys.command(epilog='Example: orders keys revoke Ab12Cd34 --reason "it was published"')(keys.revoke)
of_keys.command(epilog="Example: orders keys link")(keys.link)
app.add_typer(of_keys, name="keys")
app.command(epilog="Example: ORDERS_API_KEY_FILE=shop.key orders whoami")(keys.whoami)
app.command(epilog="Example: orders audit --limit 10")(audit.audit)
