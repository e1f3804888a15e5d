"""Commands to a Redis server: a limited number at a time, each with a timeout."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from kvwrap.core.primitives import Collection
from kvwrap.errors import KvwrapError, StoreUnavailable, ValueTooLarge
from kvwrap.stores.redis.access import reach_server
from kvwrap.stores.redis.connections import make_settings
from kvwrap.stores.redis.errors import driver, is_about_scripts
from kvwrap.stores.redis.node import Node
from kvwrap.stores.redis.options import RedisOptions
from kvwrap.stores.redis.pools import Pool
from kvwrap.stores.redis.scripts import INCREMENT, Script
from kvwrap.stores.shared.chunks import parts

Command = Sequence[Any]
"""The words of a command; those of its name are separated by spaces."""

_SMALLEST_LIMIT: Final = 1024 * 1024
"""The lowest limit of a value's size that a server can have (proto-max-bulk-len), in bytes."""

_SUM: Final = re.compile(rb"-?[0-9]{1,19}")  # as the server writes 64 bits

_USUAL_LIMIT: Final = 512 * 1024 * 1024
"""The limit of a server that has no other."""


class Rights(NamedTuple):
    """What an account may do at all servers: run scripts, and be told what changes."""

    scripts: bool
    watch: bool


class Server:
    """Sends commands to a Redis server, over connections of its own or a client of the user's.

    Args:
        options: The server, the timeout of a round trip (including the wait for its turn), and
            the maximum number of round trips in progress. A client given here is never closed.
        store: Name of the store, for errors.
        ensure_open: Awaited if a command comes before `open`; opens the store, or raises.

    Attributes:
        splits: True if a command can have one key only, since keys are on several nodes.

    Raises:
        ConfigurationError: The store cannot use the client or the URL.
    """

    splits = False
    _needed_to_watch: Sequence[Command] = ()

    def __init__(
        self,
        options: RedisOptions,
        *,
        store: str,
        ensure_open: Callable[[], Awaitable[None]],
    ) -> None:
        self._options = options
        self._store = store
        self._ensure_open = ensure_open
        self.is_open = False
        self._limit = 0
        self._timeout = options.timeout
        self._node = self._make_only_node()

    def _make_only_node(self) -> Node:
        make_pool, where = reach_server(self._options)
        if self._options.client is None:
            self._timeout = make_settings(self._options).timeout(self._timeout)
        return self._make_node(make_pool, where)

    def _make_node(
        self, make_pool: Callable[[], Pool], address: str, *, is_node: bool = False
    ) -> Node:
        options = self._options
        return Node(
            make_pool,
            address=address,
            limit=options.max_connections,
            timeout=self._timeout,
            is_shared=options.client is not None,
            is_node=is_node,
            store=self._store,
            product=options.product,
            uses_tls=options.uses_tls,
        )

    @property
    def idle(self) -> bool:
        """True while no round trip is in progress or waits for its turn."""
        return self._node.idle

    @property
    def layout(self) -> object:
        """What changes when keys belong to another server, where scans begin again."""
        return self._node.place

    def open(self) -> None:
        """Allow round trips. Nothing is connected yet."""
        self._no_script_error = driver("redis.exceptions").NoScriptError
        self.is_open = True

    async def close(self) -> None:
        """Close the connections, unless they are the user's or another process's."""
        self.is_open = False
        await self._node.close()

    async def _ensure_open_here(self) -> None:
        if not self.is_open:
            await self._ensure_open()

    async def nodes(self) -> Sequence[Node]:
        """Return the servers that have keys."""
        await self._ensure_open_here()
        return (self._node,)

    async def run_each(self, names: Sequence[str], commands: Sequence[Command]) -> list[Any]:
        """Run one command for each of these keys, in one round trip, and return their answers.

        An error for a single command is returned in place of its answer.
        """
        if not self.is_open:
            await self._ensure_open()
        return await self._node.run(commands)

    async def run_units(
        self, names: Sequence[str], units: Sequence[Sequence[Command]]
    ) -> list[list[Any]]:
        """Run several commands for each of these keys, in one round trip; see `run_each`."""
        answers = iter(await self.run_each(names, [command for unit in units for command in unit]))
        return [[next(answers) for _ in unit] for unit in units]

    async def run_at_all(self, *commands: Command) -> list[list[Any]]:
        """Run commands at each server, and return the answers of each.

        Errors of Redis are returned in place of answers.

        Raises:
            KvwrapError: A server cannot be reached.
        """
        runs = (node.run(commands) for node in await self.nodes())
        found = await asyncio.gather(*runs, return_exceptions=True)
        for answers in found:
            if isinstance(answers, BaseException):
                raise answers
        return [answers for answers in found if isinstance(answers, list)]

    async def ping(self) -> Rights:
        """Ask every server for an answer. Returns what the account may do."""
        # That there is no such script is said to those only who may run one, and that an argument
        # is wrong to those who may use the command.
        answers = await self.run_at_all(
            ("PING",), ("EVALSHA", "0" * 40, 0), ("CLIENT TRACKING", "?"), *self._needed_to_watch
        )
        for answer, *_ in answers:
            self.checked_answer(answer)
        return Rights(
            scripts=not any(is_about_scripts(answer) for _, answer, *_ in answers),
            watch=all(
                "syntax" in str(answer) and not any(isinstance(each, Exception) for each in more)
                for _, _, answer, *more in answers
            ),
        )

    async def set_all(self, pairs: Sequence[tuple[str, bytes]]) -> list[Any]:
        """Write values in one command, and return its answer for each."""
        names = [name for name, _ in pairs]
        (answer,) = await self.run_each(names, [("MSET", *chain.from_iterable(pairs))])
        return [answer] * len(pairs)

    async def add(
        self, collection: Collection, key: str, name: str, arguments: tuple[int, int, str]
    ) -> int | None:
        """Add to a counter by `INCREMENT`, with these arguments. Returns the sum."""
        calls = [(1, name, *arguments)]
        (answer,) = await self.run_in_chunks(
            collection, (key,), lambda chunk: self.run_script(INCREMENT, calls[chunk])
        )
        if answer is None:
            return None
        if not isinstance(answer, bytes) or not _SUM.fullmatch(answer):
            raise self.wrong_answer()
        return int(answer)

    async def read_values(self, names: Sequence[str]) -> list[Any]:
        """Read the values of keys. An error for a single key is in place of its value."""
        if not self.splits:
            (answer,) = await self.run_each(names, [("MGET", *names)])
            return self._checked_values(self.checked_answer(answer), len(names))
        # Not GET, which refuses keys that are not strings.
        answers = await self.run_each(names, [("MGET", name) for name in names])
        return [
            answer if isinstance(answer, Exception) else self._checked_values(answer, 1)[0]
            for answer in answers
        ]

    async def read_with_lifetimes(self, names: Sequence[str]) -> list[Any]:
        """Read the values of keys, each with the answer to PTTL at the same moment.

        An error for a single key is in place of its value and lifetime.
        """
        # In transactions: an expiry must be that of the value it is returned with.
        groups = [[name] for name in names] if self.splits else [list(names)]
        units = [
            [("MULTI",), ("MGET", *group), *(("PTTL", name) for name in group), ("EXEC",)]
            for group in groups
        ]
        found: list[Any] = []
        for group, answers in zip(
            groups, await self.run_units([group[0] for group in groups], units), strict=True
        ):
            error = next((each for each in answers if isinstance(each, Exception)), None)
            if error is not None:
                found += [error] * len(group)
                continue
            if not isinstance(answers[-1], list) or len(answers[-1]) != 1 + len(group):
                raise self.wrong_answer()
            values, *lifetimes = map(self.checked_answer, answers[-1])
            if not all(type(each) is int for each in lifetimes):
                raise self.wrong_answer()
            found += zip(self._checked_values(values, len(group)), lifetimes, strict=True)
        return found

    async def limit(self, size: int) -> int:
        """Return the maximum size of a value in bytes, asking the servers if `size` is over it.

        An account that may not ask gets the limit that is usual.
        """
        if size > self._limit:
            answers = await self.run_at_all(("CONFIG GET", "proto-max-bulk-len"))
            self._limit = min((_limit_in(answer) for (answer,) in answers), default=_USUAL_LIMIT)
        return self._limit

    async def eviction_policy(self) -> str | None:
        """Return the policy by which a server evicts keys, or `None` if none does or tells it."""
        for (answer,) in await self.run_at_all(("INFO", "memory")):
            facts = _facts_in(answer)
            policy = facts.get("maxmemory_policy", "noeviction")
            if facts.get("maxmemory", "0") != "0" and policy != "noeviction":
                return policy
        return None

    async def check_sizes(
        self, collection: Collection, keys: Sequence[str], sizes: Sequence[int]
    ) -> None:
        """Raise ValueTooLarge for a value that the server will not take."""
        largest = max(sizes, default=0)
        if largest <= _SMALLEST_LIMIT or largest <= (limit := await self.limit(largest)):
            return
        for key, size in zip(keys, sizes):
            if size > limit:
                raise ValueTooLarge(
                    f"a value must not be larger than the server's proto-max-bulk-len, {limit} "
                    f"bytes; got {size} bytes. Nothing was written: raise the limit, or "
                    "store smaller values",
                    store=self._store,
                    collection=collection,
                    key=key,
                )

    async def run_script(self, script: Script, calls: Sequence[Sequence[Any]]) -> list[Any]:
        """Run a script several times in one round trip and return the answers.

        Args:
            script: The script.
            calls: The calls, each with 1 as the number of its keys, its key and its arguments.
        """
        names = [call[1] for call in calls]
        answers = await self.run_each(names, [("EVALSHA", script.sha, *call) for call in calls])
        missing = [
            index
            for index, answer in enumerate(answers)
            if isinstance(answer, self._no_script_error)
        ]
        if missing:
            # The server is new, or was restarted. None of these calls was carried out.
            repeated = await self.run_each(
                [names[index] for index in missing],
                [("EVAL", script.text, *calls[index]) for index in missing],
            )
            for index, answer in zip(missing, repeated, strict=True):
                answers[index] = answer
        return answers

    async def run_script_at(self, node: Node, script: Script, *arguments: Any) -> Any:
        """Run a script without keys at one server and return the answer.

        Raises:
            KvwrapError: The script failed.
        """
        # A node that takes over a slot serves what it has of it only to those who say so.
        first = [("ASKING",)] if self.splits else []
        *_, answer = await node.run([*first, ("EVALSHA", script.sha, 0, *arguments)])
        if isinstance(answer, self._no_script_error):
            *_, answer = await node.run([*first, ("EVAL", script.text, 0, *arguments)])
        if isinstance(answer, Exception):
            raise node.translate(answer)
        return answer

    async def run_in_chunks(
        self,
        collection: Collection,
        keys: Sequence[str],
        send: Callable[[slice], Awaitable[list[Any]]],
        sizes: Sequence[int] | None = None,
    ) -> list[Any]:
        """Run the commands for many keys in round trips, one for each of `parts`.

        Args:
            collection: Collection of the keys, for errors.
            keys: The keys.
            send: Runs the commands for a slice of the keys, and returns an answer for each.
            sizes: The sizes in bytes of the values that are sent for the keys.

        Returns:
            The answers for all keys. The first error of Redis among them is raised.
        """
        answers: list[Any] = []
        for part in parts(len(keys), sizes):
            start = part.start
            try:
                chunk = await send(part)
            except KvwrapError as error:
                error.collection = collection
                error.succeeded = tuple(keys[:start]) if start else None
                raise
            answers += chunk
            for index, answer in enumerate(chunk, start):
                if isinstance(answer, Exception):
                    succeeded = tuple(
                        key for key, a in zip(keys, answers) if not isinstance(a, Exception)
                    )
                    raise self._translate(
                        answer, collection=collection, key=keys[index], succeeded=succeeded
                    )
        return answers

    def checked_answer(self, answer: Any) -> Any:
        """Return the answer. Raises it, translated, if it is an error of Redis."""
        if isinstance(answer, Exception):
            raise self._translate(answer)
        return answer

    def _checked_values(self, answer: Any, count: int) -> list[bytes | None]:
        """Return the values of an MGET of `count` keys.

        Raises:
            StoreUnavailable: The answer is not that of an MGET.
        """
        if (
            not isinstance(answer, list)
            or len(answer) != count
            or not all(value is None or isinstance(value, bytes) for value in answer)
        ):
            raise self.wrong_answer()
        return answer

    def wrong_answer(self) -> StoreUnavailable:
        """Return the error for an answer that no server of Redis gives."""
        return StoreUnavailable(
            f"{self._node.server} must answer as its protocol says, and did not: check that "
            "this is a server of Redis, and what is between",
            store=self._store,
        )

    def endless_scan(self) -> StoreUnavailable:
        """Return the error for a scan that goes round in circles."""
        return StoreUnavailable(
            f"{self._node.server} must end a SCAN, and its cursors come again and again: "
            "check that this is a server of Redis, and what is between",
            store=self._store,
        )

    def _translate(self, error: Exception, **context: Any) -> KvwrapError:
        return self._node.translate(error, **context)


def _limit_in(answer: Any) -> int:
    """Return the limit in an answer to CONFIG GET, or what is usual."""
    found = next(iter(answer.items()), None) if isinstance(answer, dict) else answer
    text = found[1] if isinstance(found, list | tuple) and len(found) == 2 else None
    limit = int(text) if isinstance(text, bytes) and _SUM.fullmatch(text) else 0
    return limit if limit > 0 else _USUAL_LIMIT


def _facts_in(answer: Any) -> dict[str, str]:
    """Return what an answer to INFO says, by name; nothing if the account may not ask."""
    if not isinstance(answer, bytes):
        return {}
    lines = answer.decode("utf-8", "replace").split("\r\n")
    return {name: fact for name, colon, fact in (line.partition(":") for line in lines) if colon}
