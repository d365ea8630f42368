"""`orders up`, `serve`, `work`, `migrate`: the commands that start things."""

import logging
import os
import signal
import sys
from typing import Annotated

import typer

from service import logs
from service.cli import connect
from service.settings import Settings

log = logging.getLogger(__name__)

# More threads than projections and sweeps would only wait for each other.
WORKER_THREADS = 2
# A number with digits too many would start processes until the machine stands still.
PROCESSES_MAX = 64
# How long a batch may take to its end when the worker is to stop. With what dramatiq and the parent process wait for
# beside, each up to a second at a time, a stop takes ten seconds at most.
WORKER_SHUTDOWN_MS = 4_000

Port = Annotated[int | None, typer.Option(help=connect.help_of("port"), min=1, max=65535)]
NoAuth = Annotated[
    bool | None, typer.Option("--no-auth", help="Let everybody do everything, without a key; on loopback alone")
]
Host = Annotated[str, typer.Option(help="The address to listen on; 0.0.0.0 for all")]


def up(port: Port = None, data_dir: connect.DataDir = None, host: Host = "127.0.0.1", no_auth: NoAuth = None) -> None:
    """Run everything in this terminal: PostgreSQL, Valkey, the API, the worker. Ctrl-C stops it, the data stays."""
    from service.embedded.supervisor import Supervisor
    from service.starting import refuse_exposed

    settings = Settings.load(port=port, data_dir=data_dir, no_auth=no_auth)
    refuse_exposed(settings, host)
    logs.configure(settings.log_format, settings.log_level)
    sys.exit(Supervisor(settings, host).run())


def serve(
    host: Host = "127.0.0.1",
    port: Port = None,
    processes: Annotated[int, typer.Option(help="How many processes share the port", min=1, max=PROCESSES_MAX)] = 1,
    data_dir: connect.DataDir = None,
    no_auth: NoAuth = None,
) -> None:
    """Run the API alone."""
    from service.http import serving
    from service.starting import refuse_exposed, refuse_unsafe

    settings = connect.settings(data_dir, port=port, no_auth=no_auth)
    refuse_exposed(settings, host)
    logs.configure(settings.log_format, settings.log_level)
    refuse_unsafe(settings, host)
    if settings.no_auth:
        log.warning("NO_AUTH: everybody who reaches the port may do everything")
    serving.serve(settings, host, processes)


def work(data_dir: connect.DataDir = None) -> None:
    """Run the worker alone: it carries events from the log into the read tables."""
    from service.starting import refuse_unsafe

    settings = connect.settings(data_dir)
    logs.configure(settings.log_format, settings.log_level)
    refuse_unsafe(settings)
    os.environ |= {"DATABASE_URL": str(settings.database_url), "REDIS_URL": str(settings.redis_url)}
    options = {
        "--processes": 1,  # the checkpoints let one process work: a second one would only stand by
        "--threads": WORKER_THREADS,
        "--worker-shutdown-timeout": WORKER_SHUTDOWN_MS,
    }
    arguments = [str(part) for option in options.items() for part in option]
    # --path without a value: dramatiq would import from the working directory first.
    dramatiq = [sys.executable, "-P", "-m", "dramatiq", "service.worker:setup", *arguments, "--skip-logging", "--path"]
    # dramatiq unblocks it when it has handlers for it: a Ctrl-C while it imports its modules waits until then.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.execv(sys.executable, dramatiq)  # noqa: S606 -- no shell is what we want


def migrate(data_dir: connect.DataDir = None) -> None:
    """Bring the database's tables to the state that this version expects. Safe to run at any time, by several."""
    from service.migrate import upgrade

    revision = upgrade(connect.database_url(data_dir))
    print(f"the database is at revision {revision or 'none'}")
