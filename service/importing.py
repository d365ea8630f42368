"""Imports modules so that a Ctrl-C meanwhile ends the process."""

import os
import signal
from importlib import import_module
from types import ModuleType

_INTERRUPTED = 130  # service.cli.failures.INTERRUPTED, which takes long to import


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
