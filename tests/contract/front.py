"""A TCP front of a server, which fails as the network and servers do."""

from __future__ import annotations

import asyncio
import re
import threading
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

_PLACE: Final = re.compile(r"127\.0\.0\.1:(\d+)")
_PART: Final = 65_536
_PAUSE: Final = 0.01


class Front:
    """Passes connections on to a server, in a thread of its own, until it is told to fail.

    Attributes:
        answered: Bytes of the server's answers so far.
        refuses: True to close new connections at once, as a server with as many as it takes.
        hangs: True to keep what is sent, and answer nothing.
    """

    def __init__(self) -> None:
        self.answered = 0
        self.refuses = self.hangs = False
        self._left: int | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="front")
        self._servers: list[asyncio.Server] = []

    def before(self, url: str) -> str:
        """Return the URL of a server with the front in its place."""
        found = _PLACE.search(url)
        assert found is not None
        coroutine = self._listen(int(found[1]))
        port = asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
        return _PLACE.sub(f"127.0.0.1:{port}", url)

    def lives_for(self, answers: int) -> None:
        """End all connections after these bytes of answers, and close new ones at once."""
        self._left = answers

    def recover(self) -> None:
        """Pass everything on again."""
        self._left = None
        self.refuses = self.hangs = False

    async def _listen(self, port: int) -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.add(writer)
            with suppress(OSError):
                if not self.refuses and self._left != 0:
                    await self._pass_on(reader, writer, port)
            self._end(writer)

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = self._loop.create_task(serve(reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self._servers.append(server)
        own: int = server.sockets[0].getsockname()[1]
        return own

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int
    ) -> None:
        answers, server = await asyncio.open_connection("127.0.0.1", port)
        self._writers.add(server)

        async def ask() -> None:
            with suppress(OSError):
                while data := await reader.read(_PART):
                    while self.hangs:
                        await asyncio.sleep(_PAUSE)
                    if self._left != 0:
                        server.write(data)
                        await server.drain()
            self._end(server)

        asking = asyncio.ensure_future(ask())
        while data := await answers.read(_PART):
            if self._left is not None:
                data = data[: self._left]
                self._left -= len(data)
            self.answered += len(data)
            writer.write(data)
            await writer.drain()
            if self._left == 0:
                for each in list(self._writers):
                    self._end(each)
        self._end(server)
        self._end(writer)
        await asking

    def _end(self, writer: asyncio.StreamWriter) -> None:
        writer.close()  # with what was written before
        self._writers.discard(writer)

    async def _close(self) -> None:
        for server in self._servers:
            server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        own = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not own]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # the transports close

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
