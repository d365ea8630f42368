"""The `orders` command line: its start, and the end of every error that an operator can cause."""

import sys


def main() -> None:
    """Run the command line; `orders.py` is its entry point.

    The subcommands are imported here, because that takes long enough for a Ctrl-C.
    """
    try:
        from service.cli.commands import app
        from service.cli.failures import explain
    except KeyboardInterrupt:
        sys.exit(130)  # ended by Ctrl-C, as shells count it
    try:
        # Not standalone: Typer raises a wrong command line as an error, instead of printing it in a box of five lines.
        sys.exit(app(prog_name="orders", standalone_mode=False))
    except Exception as error:
        explained = explain(error)
        if explained is None:
            raise
        line, exit_code = explained
        print(f"orders: {line}", file=sys.stderr)
        sys.exit(exit_code)
