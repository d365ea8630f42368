"""An embedded Valkey 9 for the broker: what it acknowledged a second ago survives a crash."""

import contextlib
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from service.embedded.account import Account
from service.embedded.programs import valkey_program
from service.embedded.server import EmbeddedServer

HOST = "127.0.0.1"
ANSWER_SECONDS_MAX = 2


class ValkeyServer(EmbeddedServer):
    """Valkey on `<data_dir>/valkey`, on a port of 127.0.0.1 that stays the same as long as it is free."""

    name = "valkey"
    title = "Valkey"
    stop_signals: ClassVar = [(signal.SIGTERM, 10), (signal.SIGKILL, 5)]

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        """`settings` are those of valkey.conf that differ from ours."""
        super().__init__(data_dir)
        self._settings = settings or {}
        self._port: int | None = None

    @property
    def url(self) -> str:
        """A redis:// URL; known after the first start."""
        if self._port is None:
            raise RuntimeError("Valkey is not started")
        return f"redis://{HOST}:{self._port}/0"

    def _prepare(self, account: Account) -> None:
        self.directory.mkdir(mode=0o700, exist_ok=True)
        for path in (valkey_program(), self.directory):
            account.reach(path)
        account.own(self.directory)
        self._port = self._choose_port()
        self._port_file.write_text(f"{self._port}\n")

    def _command(self) -> list[str]:
        settings = {
            "bind": HOST,
            "port": str(self._port),
            "dir": str(self.directory),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",  # the append-only file is enough, and snapshots alone lose all since the last one
        } | dict(self._settings)
        return [str(valkey_program()), *(part for name, value in settings.items() for part in (f"--{name}", value))]

    def _is_ready(self) -> bool:
        import redis  # every command imports this module, and few need Redis

        with (
            contextlib.suppress(redis.RedisError),
            contextlib.closing(
                redis.Redis(host=HOST, port=self._port or 0, socket_timeout=ANSWER_SECONDS_MAX)
            ) as client,
        ):
            # Another server may answer on the port while ours is about to fail.
            return bool(client.info("server")["process_id"] == self.pid)
        return False

    def _choose_port(self) -> int:
        with contextlib.suppress(OSError, ValueError):
            last = int(self._port_file.read_text())
            if _is_free(last):
                return last
        with socket.socket() as listener:
            listener.bind((HOST, 0))
            return int(listener.getsockname()[1])

    @property
    def _port_file(self) -> Path:
        return self.data_dir / "valkey.port"


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            listener.bind((HOST, port))
            return True
    return False
