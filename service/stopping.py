"""SIGTERM with notice: /readyz says so at once, and the port closes only when load balancers have seen it."""

import asyncio
import logging
import signal
import threading
from types import FrameType

log = logging.getLogger(__name__)


class Stopping:
    """Puts the end of the process off for `seconds` after SIGTERM. `is_asked` is whether SIGTERM has come.

    With 0 seconds, and outside the main thread, which alone gets signals, nothing is put off.
    """

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self.is_asked = False

    def listen(self) -> None:
        """Take SIGTERM over from the server, which is to have its handler in place and the event loop running."""
        if not self.seconds or threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        end = signal.getsignal(signal.SIGTERM)
        assert callable(end)

        def asked(number: int, frame: FrameType | None) -> None:
            # A service manager may send it to all processes, and the parent sends it once more: it counts once.
            if not self.is_asked:
                self.is_asked = True
                log.info("stopping: /readyz says so, and the port closes in %d seconds", self.seconds)
                loop.call_soon_threadsafe(loop.call_later, self.seconds, end, number, None)

        signal.signal(signal.SIGTERM, asked)
