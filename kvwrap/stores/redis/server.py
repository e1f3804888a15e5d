"""Commands to a server of Redis: so many at a time, each within its time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from kvwrap.core.primitives import Collection
from kvwrap.errors import KvwrapError
from kvwrap.stores.redis.connections import checked_client, pool
from kvwrap.stores.redis.errors import driver, failure
from kvwrap.stores.redis.scripts import Script

CHUNK: Final = 1000
"""Commands in one round trip, so that no batch, however large, keeps others waiting long."""


class Server:
    """Asks a server of Redis, through connections of its own or a client of the user's.

    Args:
        owner: Who speaks in errors.
        ready: Awaited where a command comes before `open`; opens, or raises.
        url: Where the server is, and …
        options: … what the driver is told besides, `None` where it is not.
        client: In place of both; it is not closed.
        timeout: Seconds for one round trip, the wait for its turn included.
        limit: How many round trips are under way at the same time.

    Raises:
        ConfigurationError: The client or the URL is none that the store can use.
    """

    def __init__(
        self,
        *,
        owner: str,
        ready: Callable[[], Awaitable[None]],
        url: str | None,
        options: Mapping[str, Any],
        client: Any,
        timeout: float | None,
        limit: int,
    ) -> None:
        self.owner = owner
        self._ready = ready
        self._url = url
        self._options = options
        self._timeout = timeout
        self._limit = limit
        self._given = None if client is None else checked_client(client)
        if client is None:
            pool(url, **options)
        self._client: Any = None
        self._pool: Any = None

    def open(self) -> None:
        """Have a client at hand; connects to nothing yet."""
        self._turns = asyncio.Semaphore(self._limit)
        known = driver("redis.exceptions")
        self._refusal, self._unknown = known.ResponseError, known.NoScriptError
        if self._given is not None:
            self._client = self._given
        else:
            self._pool = pool(self._url, **self._options)
            self._client = driver("redis.asyncio").Redis(connection_pool=self._pool)

    async def close(self) -> None:
        """Let go of the connections, unless they are the user's."""
        self._client = None
        if self._given is None:
            await self._pool.disconnect()

    async def ask(self, *command: Any) -> Any:
        """The answer to one command."""
        (answer,) = await self.ask_all([command])
        if isinstance(answer, Exception):
            raise failure(answer, store=self.owner) from answer
        return answer

    async def ask_all(self, commands: Sequence[Sequence[Any]], *, whole: bool = False) -> list[Any]:
        """The answers to several commands, in one round trip; refusals stand among them.

        `whole` has nobody else's commands come between, and raises refusals.
        """
        if self._client is None:
            await self._ready()
        try:
            async with asyncio.timeout(self._timeout), self._turns:
                if len(commands) == 1:
                    return [await self._alone(*commands[0])]
                pipeline = self._client.pipeline(transaction=whole)
                for command in commands:
                    pipeline.execute_command(*command)
                return list(await pipeline.execute(raise_on_error=whole))
        except Exception as error:
            raise failure(error, store=self.owner) from error

    async def _alone(self, *command: Any) -> Any:
        try:
            return await self._client.execute_command(*command)
        except self._refusal as error:
            return error

    async def run(self, script: Script, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """The answers to calls of a script, each its number of keys, keys and arguments."""
        answers = await self.ask_all([("EVALSHA", script.sha, *call) for call in calls])
        missed = [at for at, answer in enumerate(answers) if isinstance(answer, self._unknown)]
        if missed:
            # The server is new, or was restarted. None of these calls was carried out.
            again = await self.ask_all([("EVAL", script.text, *calls[at]) for at in missed])
            for at, answer in zip(missed, again, strict=True):
                answers[at] = answer
        return answers

    async def each(
        self,
        collection: Collection,
        keys: Sequence[str],
        send: Callable[[slice], Awaitable[list[Any]]],
    ) -> list[Any]:
        """The answers for all keys, from as few round trips as is fair to others."""
        answers: list[Any] = []
        for start in range(0, len(keys), CHUNK):
            try:
                found = await send(slice(start, start + CHUNK))
            except KvwrapError as error:
                error.collection = collection
                error.succeeded = tuple(keys[:start]) if start else None
                raise
            answers += found
            for at, answer in enumerate(found, start):
                if isinstance(answer, Exception):
                    done = [k for k, a in zip(keys, answers) if not isinstance(a, Exception)]
                    place = {"collection": collection, "key": keys[at], "succeeded": done}
                    raise failure(answer, store=self.owner, **place) from answer
        return answers
