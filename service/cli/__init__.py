"""The `orders` command line: its start, and the end of every error that an operator can cause."""

import sys

INTERRUPTED = 130  # the exit code of what Ctrl-C has ended, as shells count it


def main() -> None:
    """Run the command line; the entry point of `orders`.

    The subcommands are imported here, because that takes long enough for a Ctrl-C.
    """
    try:
        from service.cli.commands import app
        from service.cli.failures import explain
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    try:
        app(prog_name="orders")
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        line, exit_code = explained
        print(f"orders: {line}", file=sys.stderr)
        sys.exit(exit_code)
