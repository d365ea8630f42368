"""The command `orders`. A module of its own, so that it can say when another project's package hides one of ours."""

import errno
import os
import signal
import sys
from importlib import import_module
from types import ModuleType

_INTERRUPTED = 130  # service.errors.INTERRUPTED, which may not be imported yet
_NO_MEMORY = "orders: the memory that this process may take does not suffice: raise ulimit -v, or the container's limit"


def _lacks_memory(error: BaseException) -> bool:
    match error:
        case MemoryError():
            return True
        case ImportError():  # in the words of the loader of shared libraries
            return "failed to map segment" in str(error)
        case SystemError():  # an allocation failed inside CPython, which then raised nothing
            return "without" in str(error) and "exception" in str(error)
        case _:
            return isinstance(error, OSError) and error.errno == errno.ENOMEM


def imported(name: str) -> ModuleType:
    """Import the module with this full name.

    A Ctrl-C ends the process at once: as an exception in the middle of an import, it may be printed and get lost.
    """
    interrupted = signal.getsignal(signal.SIGINT)
    if interrupted is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(_INTERRUPTED))
    try:
        return import_module(name)
    finally:
        signal.signal(signal.SIGINT, interrupted)


def main() -> None:
    """Run the command line.

    Ends with one line where another project has installed a package with a name of ours, or memory is too little; and
    silently after a Ctrl-C that no command handles.
    """
    try:
        imported("service.cli.commands")  # all that takes long
        imported("service.cli").main()
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    except (MemoryError, OSError, ImportError, SystemError) as error:
        if _lacks_memory(error):
            sys.exit(_NO_MEMORY)
        if not isinstance(error, ImportError):
            raise
        from importlib.metadata import packages_distributions  # slow: a Ctrl-C during it shows a traceback

        for package, projects in packages_distributions().items():
            if "orders" in projects and len(others := set(projects)) > 1:
                sys.exit(
                    f"orders: {', '.join(sorted(others - {'orders'}))} has installed another package {package} here: "
                    "install orders into a virtual environment of its own"
                )
        raise


if __name__ == "__main__":
    main()
