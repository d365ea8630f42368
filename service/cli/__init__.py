"""The `orders` command: every subcommand, and the one place where what an operator can cause becomes one line."""

import sys
from typing import NoReturn

import psycopg
import redis
import sqlalchemy.exc
import typer

from service.cli import run
from service.errors import OperatorError

DONE, NOT_TRUE, MISUSE = 0, 1, 2  # the exit codes of every command

app = typer.Typer(
    name="orders",
    help="An event-sourced order service. Start with: orders up",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

# Every subcommand, by name; the files of service/cli/ hold functions, not registrations.
app.command(epilog="Example: orders up --port 8001 --data-dir /srv/orders")(run.up)
app.command(epilog="Example: DATABASE_URL=postgresql://... REDIS_URL=redis://... orders serve --processes 2")(run.serve)
app.command(epilog="Example: DATABASE_URL=postgresql://... REDIS_URL=redis://... orders work")(run.work)
app.command(epilog="Example: DATABASE_URL=postgresql://... orders migrate")(run.migrate)


def main() -> None:
    """Run the command line; the entry point of `orders`."""
    try:
        app(prog_name="orders")
    except OperatorError as error:
        _fail(str(error), error.exit_code)
    except (psycopg.Error, sqlalchemy.exc.DBAPIError) as error:
        _fail_on_database(error)
    except (redis.ConnectionError, redis.TimeoutError) as error:
        _fail(f"Redis does not answer: {error}; check REDIS_URL", NOT_TRUE)


def _fail_on_database(error: psycopg.Error | sqlalchemy.exc.DBAPIError) -> NoReturn:
    cause: BaseException | None = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    if isinstance(cause, psycopg.errors.UndefinedTable | psycopg.errors.InvalidSchemaName):
        _fail("the database lacks tables of ours: run `orders migrate` first", NOT_TRUE)
    if isinstance(cause, psycopg.OperationalError):
        _fail(f"PostgreSQL does not do it: {cause}; check DATABASE_URL and that the server runs", NOT_TRUE)
    raise error  # not the operator's doing: a traceback is right


def _fail(message: str, exit_code: int) -> NoReturn:
    print(f"orders: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(exit_code)
