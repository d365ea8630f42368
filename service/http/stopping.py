"""Delays the end of the API after SIGTERM, so that load balancers stop sending requests before its port closes."""

import asyncio
import logging
import signal
import threading
from types import FrameType

log = logging.getLogger(__name__)


class Stopping:
    """Ends the server `seconds` after SIGTERM. From the signal on, `is_asked` is true and /readyz answers 503.

    It delays nothing with 0 seconds, or outside the main thread, because only the main thread receives signals.
    """

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        self.is_asked = False

    def listen(self) -> None:
        """Replace the server's SIGTERM handler by one that waits. The server must have set its handler before."""
        if not self.seconds or threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        end = signal.getsignal(signal.SIGTERM)
        assert callable(end)

        def asked(number: int, frame: FrameType | None) -> None:
            # The service manager and our parent process may both send SIGTERM: only the first one starts the delay.
            if not self.is_asked:
                self.is_asked = True
                log.info("stopping: /readyz says so, and the port closes in %d seconds", self.seconds)
                loop.call_soon_threadsafe(loop.call_later, self.seconds, end, number, None)

        signal.signal(signal.SIGTERM, asked)
