"""A proxy in front of a server of S3, which changes or answers requests, or loses answers."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

Exchange = Callable[[bytes], Awaitable[bytes]]
"""Sends a request to the server, and returns its answer."""
Handle = Callable[[bytes, Exchange], Awaitable[bytes]]
"""Gets a request, and returns the answer to give; an empty one ends the connection."""

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


def answer(status: str, body: bytes = b"") -> bytes:
    """Return an answer with this status."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


class Proxy:
    """The proxy; an asynchronous context manager.

    Args:
        endpoint: URL of the server.
        handle: What it does with each request.
    """

    def __init__(self, endpoint: str, handle: Handle) -> None:
        self._host, self._port = urlsplit(endpoint).hostname, urlsplit(endpoint).port
        self._handle = handle
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The URL of the proxy."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1]) if length else 0)
            writer.write(await self._handle(head + body, self._exchange))
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is gone
        finally:
            writer.close()

    async def _exchange(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        writer.write(request.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        found = await reader.read()
        writer.close()
        # Each connection is for one request.
        return found.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
