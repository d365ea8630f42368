"""A TCP proxy that lets everything through, late: a server that is slow to answer."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

CHUNK_BYTES = 65536
START_SECONDS_MAX = 5


class Delay:
    """Between clients and the server at `port` of 127.0.0.1; answers and connections come `seconds` late."""

    def __init__(self, port: int) -> None:
        self._target = port
        self.port = 0
        self.seconds = 0.0

    @contextlib.contextmanager
    def running(self) -> Iterator["Delay"]:
        """Listen, in a thread of its own, on a port that `port` then tells."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="delay", daemon=True)
        thread.start()
        listener = asyncio.run_coroutine_threadsafe(self._listen(), loop).result(START_SECONDS_MAX)
        try:
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(self._end(listener), loop).result(START_SECONDS_MAX)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(START_SECONDS_MAX)
            loop.close()

    async def _listen(self) -> asyncio.Server:
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = listener.sockets[0].getsockname()[1]
        return listener

    async def _end(self, listener: asyncio.Server) -> None:
        listener.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, client_reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self.seconds)
        with contextlib.suppress(OSError):
            server_reader, server = await asyncio.open_connection("127.0.0.1", self._target)
            directions = [self._pass(client_reader, server, 0), self._pass(server_reader, client, 1)]
            try:
                await asyncio.gather(*directions)
            finally:
                client.close()
                server.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, late: int) -> None:
        while chunk := await reader.read(CHUNK_BYTES):
            await asyncio.sleep(late * self.seconds)
            writer.write(chunk)
            await writer.drain()
        writer.close()
