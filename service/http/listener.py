"""The port that the API listens on, or one line that says why it cannot be had."""

import errno
import socket

from service.errors import OperatorError

BACKLOG = 2048
# libuv accepts one connection of a listening socket in each turn of its loop (https://github.com/libuv/libuv/pull/3696).
# Under load a turn takes tens of milliseconds, so connections arrive faster and the backlog overflows. Clients then try
# again after one, three and seven seconds. So the loop listens on as many duplicates of the socket.
ACCEPTS_A_TURN = 32


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


def often(listener: socket.socket) -> list[socket.socket]:
    """The listener and duplicates of it, so that a turn of the loop accepts ACCEPTS_A_TURN connections."""
    return [listener, *(listener.dup() for _ in range(ACCEPTS_A_TURN - 1))]
