"""A TCP proxy in front of PostgreSQL that loses what passes through it, on demand."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from enum import Enum, auto

from psycopg.conninfo import conninfo_to_dict, make_conninfo

# libpq's first message when it wants a running statement cancelled (PostgreSQL, protocol 3.0: CancelRequest).
CANCEL_REQUEST = (80877102).to_bytes(4)
CHUNK_BYTES = 65536


class Fault(Enum):
    """What happens to the next COMMIT."""

    NONE = auto()
    COMMIT_LOST = auto()  # it never arrives
    STATEMENTS_ARRIVE_COMMIT_LOST = auto()  # what stands before it does
    ANSWER_LOST = auto()  # it arrives, and the answer to it is lost
    ANSWER_LOST_AND_SERVER_GONE = auto()
    SILENCE = auto()  # it arrives, and from then on nothing comes back on any connection


class Proxy:
    """Between a writer and its server. Only a connection's first COMMIT can be told: then it is sent as text."""

    def __init__(self, database_url: str) -> None:
        self._target = conninfo_to_dict(database_url)
        self._connections: set[asyncio.StreamWriter] = set()
        self._silent = False
        self.fault = Fault.NONE
        self.times = 1  # how many COMMITs it happens to
        self.hits = 0  # how many COMMITs it has happened to
        self.refusing = False
        self.cancel_requests = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.close()
            return
        server_reader, server_writer = await self._connect()
        self._connections |= {writer, server_writer}
        try:
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._to_server(reader, server_writer, writer))
                directions.create_task(self._to_client(server_reader, writer, server_writer))
        except* OSError:
            pass
        finally:
            for stream in (writer, server_writer):
                stream.close()
                self._connections.discard(stream)

    async def _to_server(
        self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            self.cancel_requests += chunk[4:8] == CANCEL_REQUEST
            if b"COMMIT" in chunk and self.fault is not Fault.NONE:
                fault, self.times = self.fault, self.times - 1
                self.hits += 1
                if self.times == 0:
                    self.fault, self.times = Fault.NONE, 1
                if fault is Fault.COMMIT_LOST:
                    break
                if fault is Fault.STATEMENTS_ARRIVE_COMMIT_LOST:
                    server.write(chunk[: chunk.index(b"COMMIT")])
                    await server.drain()
                    break
                self._silent = True
                self.refusing = fault is Fault.ANSWER_LOST_AND_SERVER_GONE
                server.write(chunk)
                await server.drain()
                if fault is not Fault.SILENCE:
                    await self._answered.wait()
                    self._silent = False
                    break
                continue
            server.write(chunk)
            await server.drain()
        server.close()
        client.close()

    async def _to_client(
        self, reader: asyncio.StreamReader, client: asyncio.StreamWriter, server: asyncio.StreamWriter
    ) -> None:
        try:
            while chunk := await reader.read(CHUNK_BYTES):
                if self._silent:
                    if b"COMMIT\0" in chunk:
                        self._answered.set()
                    continue
                client.write(chunk)
                await client.drain()
        finally:
            self._answered.set()  # or there will be no answer to lose
        client.close()
        server.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = str(self._target["host"]), int(str(self._target.get("port") or 5432))
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    def heal(self) -> None:
        """From now on all that comes goes through."""
        self.fault, self.refusing, self._silent = Fault.NONE, False, False

    def cut(self) -> None:
        """Drop all connections, as a server that dies does."""
        for stream in self._connections:
            stream.close()

    @contextlib.asynccontextmanager
    async def running(self, database_url: str) -> AsyncIterator["Proxy"]:
        self._answered = asyncio.Event()
        listener = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        self.url = make_conninfo(database_url, host="127.0.0.1", port=port, sslmode="disable", gssencmode="disable")
        try:
            yield self
        finally:
            self.cut()
            listener.close()
