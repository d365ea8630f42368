"""The port that the API listens on, or one line that says why it cannot be had."""

import errno
import socket

from service.errors import OperatorError

BACKLOG = 2048


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there. Raises OperatorError when the port is taken or the address is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise OperatorError(
                f"port {port} of {host} is taken: stop what uses it, or choose another --port"
            ) from None
        raise OperatorError(f"cannot listen on {host}:{port}: {error.strerror}") from None
    return listener
