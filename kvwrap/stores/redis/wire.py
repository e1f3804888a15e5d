"""A connection of its own to one server, on which that tells the names of the changed keys."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, Final

from kvwrap.core.concurrency import cancel_and_wait
from kvwrap.errors import UnsupportedOperation
from kvwrap.stores.redis.errors import driver
from kvwrap.stores.redis.messages import Messages, Push, Refused
from kvwrap.stores.redis.pools import Pool
from kvwrap.stores.redis.protocol import pack

_CHUNK: Final = 65536
_CHANNEL: Final = "__redis__:invalidate"

Hear = Callable[[Sequence[bytes] | None], None]
"""Called with the names of keys that have changed, or None if any may have."""


class Wire:
    """A connection with `CLIENT TRACKING` in its mode for all keys with a prefix (`BCAST`).

    Args:
        pool: Makes the connection, which its pool never lends.
        server: The server, for errors.
        hear: Called with what the server tells.
        cut: Called if the connection ends by itself.
    """

    def __init__(self, pool: Pool, server: str, hear: Hear, cut: Callable[[], None]) -> None:
        self._pool = pool
        self._server = server
        self._hear = hear
        self._cut = cut
        self._connection: Any = None
        self._task: asyncio.Task[None] | None = None
        self._asked: deque[asyncio.Future[Any]] = deque()
        self._broken = driver("redis.exceptions").ConnectionError

    async def connect(self) -> None:
        """Connect. Nothing is told yet.

        Raises:
            UnsupportedOperation: The server, or what is between, does not know RESP3.
        """
        self._connection = await self._pool.connect_apart()
        self._task = asyncio.create_task(self._read(self._connection._reader))
        self._require(await self.ask("HELLO", 3), "HELLO 3")

    async def track(self, prefix: str) -> None:
        """Have the changes of keys with a prefix told from now on.

        Raises:
            UnsupportedOperation: The server, or what is between, does not do so, or not for this
                account.
        """
        # Only clients that are subscribed to a channel have a limit of what the server keeps for
        # them while they do not read. Nothing is sent to this one under RESP3.
        await self.ask("SUBSCRIBE", _CHANNEL)
        only = ("PREFIX", prefix) if prefix else ()
        self._require(await self.ask("CLIENT TRACKING", "ON", "BCAST", *only), "CLIENT TRACKING")
        state = await self.ask("CLIENT TRACKINGINFO")
        if not isinstance(state, Refused | list) or (
            isinstance(state, list) and not any(b"bcast" in each for each in _lists(state))
        ):
            raise self.unsupported("CLIENT TRACKING of a single connection")

    async def ask(self, *command: Any) -> Any:
        """Return the answer to a command, which may be `Refused`.

        Raises:
            redis.exceptions.ConnectionError: The connection has ended.
        """
        if self._task is None or self._task.done():
            raise self._broken("the connection has ended")
        answer = asyncio.get_running_loop().create_future()
        self._asked.append(answer)
        self._connection._writer.writelines(pack([command]))
        return await answer

    async def role(self) -> Any:
        """Return whether the server is a master or a replica; None if the account may not ask."""
        answer = await self.ask("ROLE")
        return answer[0] if isinstance(answer, list) and answer else None

    async def is_outdated(self) -> bool:
        """Return True if another server has taken the place of this one."""
        return await self._pool.leads_elsewhere(self._connection)

    async def close(self) -> None:
        """End the connection, and the task that reads."""
        await close_all([self])

    async def _end(self) -> asyncio.Task[None] | None:
        """End the connection without waiting, and return the task that ends with it."""
        connection, self._connection = self._connection, None
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        if connection is not None:
            with suppress(AttributeError):  # it is closed already
                connection._writer.transport.abort()
            await connection.disconnect(nowait=True)
        return task

    async def _read(self, stream: asyncio.StreamReader) -> None:
        messages = Messages()
        try:
            while piece := await stream.read(_CHUNK):
                for message in messages.feed(piece):
                    self._take(message)
        except (OSError, ValueError):
            pass  # told below, as the end of the stream is
        finally:
            for answer in self._asked:
                if not answer.done():
                    answer.set_exception(self._broken("the connection has ended"))
            self._asked.clear()
            if self._connection is not None:  # not closed
                self._cut()

    def _take(self, message: Any) -> None:
        if isinstance(message, Push):
            match message:
                case [b"invalidate", list() | None as names]:
                    self._hear(names)
                    return
                case [b"subscribe", *_]:
                    pass  # the answer to it
                case _:
                    return
        if self._asked:
            answer = self._asked.popleft()
            if not answer.done():
                answer.set_result(message)

    def _require(self, answer: Any, what: str) -> None:
        if not isinstance(answer, Refused):
            return
        code = str(answer).partition(" ")[0]
        if code in ("ERR", "NOPERM", "NOPROTO"):
            raise self.unsupported(what) from answer
        raise driver("redis.exceptions").ResponseError(str(answer))

    def unsupported(self, what: str) -> UnsupportedOperation:
        """Return the error to raise for something that is needed to watch, and refused."""
        return UnsupportedOperation(
            f"{self._server} does not offer {what} to this username, or a proxy between does not: "
            "changes cannot be watched, and near copies live as long as their ttl says. Grant "
            "+@connection, in a cluster also +cluster|nodes, or connect to the server itself"
        )


async def close_all(wires: Iterable[Wire]) -> None:
    """End connections: all of them also if this is cancelled while it waits for their tasks."""
    tasks = [task for wire in wires if (task := await wire._end()) is not None]
    await cancel_and_wait(tasks)


def _lists(answer: list[Any]) -> list[list[Any]]:
    return [each for each in answer if isinstance(each, list)]
