import asyncio

import pytest

from bench import http_client
from bench.http_client import Pool


@pytest.mark.parametrize(("rest_seconds_max", "opened"), [(60, 1), (-1, 2)])
def test_a_connection_that_rested_too_long_is_not_used_again(
    monkeypatch: pytest.MonkeyPatch, rest_seconds_max: float, opened: int
) -> None:
    """A server may be hanging up on it at that moment, and what it was sent would be lost."""
    monkeypatch.setattr(http_client, "REST_SECONDS_MAX", rest_seconds_max)
    served: list[asyncio.Task[None] | None] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.current_task())
        while line := await reader.readline():
            if line == b"\r\n":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        writer.close()

    async def ask_twice() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        pool = Pool(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", 1)
        for _ in range(2):
            async with pool.connection() as connection:
                assert (await connection.get("/")).body == b"hi"
        pool.close()
        for task in served:
            assert task is not None
            await task
        server.close()

    asyncio.run(ask_twice())
    assert len(served) == opened
