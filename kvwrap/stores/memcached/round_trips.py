"""Commands for many keys, sent to the servers that have them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from kvwrap.core.concurrency import gather_outcomes
from kvwrap.core.primitives import Collection
from kvwrap.errors import KvwrapError, ValueTooLarge
from kvwrap.stores.memcached import protocol
from kvwrap.stores.memcached.names import Names
from kvwrap.stores.memcached.nodes import Cluster, Node
from kvwrap.stores.memcached.protocol import STORED, Reply
from kvwrap.stores.shared.client import Client
from kvwrap.stores.shared.heads import Head

T = TypeVar("T")

Command = Callable[[str], bytes]
"""Returns a command, given the name of a key."""


Commands = Callable[[int, str], tuple[bytes, ...]]
"""Returns the commands for the key with this index, given its name."""

Decide = Callable[[int, Head | None, int], Command | None]
"""Returns the command for the key with this index, given the head and number of what it has, or
None to leave it."""


class RoundTrips:
    """Sends commands for the keys of a namespace.

    Args:
        client: The servers.
        names: The names in the namespace.
        store: Name of the store, for errors.
    """

    def __init__(self, client: Client[Cluster], names: Names, *, store: str) -> None:
        self._client = client
        self._names = names
        self._store = store

    async def get(
        self, collection: Collection, keys: Sequence[str], suffixes: Sequence[str]
    ) -> list[Reply]:
        """Read the values of keys, given what their names have after the root."""
        return await self.ask(collection, keys, suffixes, _get, writes=False)

    async def ask(
        self,
        collection: Collection,
        keys: Sequence[str],
        suffixes: Sequence[str],
        commands: Commands,
        *,
        writes: bool,
        each: int = 1,
    ) -> list[Reply]:
        """Send the commands of each key to its server, all at the same time.

        Args:
            collection: Collection of the keys, for errors.
            keys: The keys.
            suffixes: What their names have after the root.
            commands: The commands.
            writes: True if they change something.
            each: Number of commands for each key.

        Returns:
            The answers for the keys, one key after the other.

        Raises:
            ValueTooLarge: The server does not take a value. The others are stored.
            KvwrapError: A server failed. The error names the keys of the others.
        """
        if not keys:
            return []

        async def ask(cluster: Cluster) -> list[Reply]:
            by_node: dict[int, list[int]] = {}
            if len(cluster.nodes) == 1:
                by_node[0] = list(range(len(keys)))
            else:
                for index, suffix in enumerate(suffixes):
                    by_node.setdefault(cluster.node_of(suffix), []).append(index)
            outcomes = await gather_outcomes(
                [
                    self._ask_node(cluster.nodes[node], indices, suffixes, commands, each, writes)
                    for node, indices in by_node.items()
                ]
            )
            for outcome in outcomes:
                if isinstance(outcome, KvwrapError) and writes:
                    answered = [
                        index
                        for indices, other in zip(by_node.values(), outcomes, strict=True)
                        if not isinstance(other, Exception)
                        for index in indices
                    ]
                    outcome.succeeded = tuple(keys[index] for index in sorted(answered))
                if isinstance(outcome, Exception):
                    raise outcome
            answered_by = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
            if len(answered_by) == 1:
                return answered_by[0]
            replies: list[Any] = [None] * (len(keys) * each)
            for indices, answers in zip(by_node.values(), answered_by, strict=True):
                for number, index in enumerate(indices):
                    own = slice(number * each, (number + 1) * each)
                    replies[index * each : (index + 1) * each] = answers[own]
            return replies

        replies = await self._client.run(ask, collection=collection)
        if writes:
            self._check_stored(collection, keys, replies[each - 1 :: each])
        return replies

    async def _ask_node(
        self,
        node: Node,
        indices: Sequence[int],
        suffixes: Sequence[str],
        commands: Commands,
        each: int,
        writes: bool,
    ) -> list[Reply]:
        """Send commands together with the question for the generation, until it is the right one.

        What is written under the name of an older generation is never read.
        """
        generation = self._names.generation
        while True:
            if node.generation is None or (writes and not node.is_used):
                await node.begin_generation(generation, is_used=writes)
                continue
            root = self._names.root(node.generation)
            sent = [protocol.get(generation)]
            for index in indices:
                sent += commands(index, root + suffixes[index])
            first, *replies = await node.ask(sent)
            if node.note_generation(first):
                return replies

    def _check_stored(
        self, collection: Collection, keys: Sequence[str], replies: Sequence[Reply]
    ) -> None:
        for key, reply in zip(keys, replies, strict=True):
            if reply.status == protocol.TOO_LARGE:
                raise ValueTooLarge(
                    "an entry must be smaller than the server's item limit (1 MB unless changed "
                    "with -I); got a larger one",
                    store=self._store,
                    collection=collection,
                    key=key,
                    succeeded=[k for k, r in zip(keys, replies) if r.status == STORED],
                )

    async def change(
        self,
        collection: Collection,
        keys: Sequence[str],
        suffixes: Sequence[str],
        decide: Decide,
    ) -> list[bool]:
        """Read keys, and send what is decided for each; again for those that changed meanwhile.

        The commands have the condition that nothing has changed since the key was read. Of a key
        that occurs twice, the first change is made before the second is decided.

        Returns which were changed.
        """
        changed = [False] * len(keys)
        pending = list(range(len(keys)))
        while pending:
            first_of_each = {keys[index]: index for index in reversed(pending)}.values()
            turn = sorted(first_of_each)
            held = await self.get(collection, [keys[i] for i in turn], [suffixes[i] for i in turn])
            decided: dict[int, Command] = {}
            for index, reply in zip(turn, held, strict=True):
                head = None
                if reply.value is not None:
                    head = self._names.head(suffixes[index], reply.value)
                command = decide(index, head, reply.cas)
                if command is not None:
                    decided[index] = command
            sent = list(decided.values())
            replies = await self.ask(
                collection,
                [keys[index] for index in decided],
                [suffixes[index] for index in decided],
                lambda number, name, sent=sent: (sent[number](name),),  # type: ignore[misc]
                writes=True,
            )
            pending = [index for index in pending if index not in turn]
            for index, reply in zip(decided, replies, strict=True):
                changed[index] = reply.status == STORED
                if not changed[index]:
                    pending.append(index)
            pending.sort()
        return changed

    async def list_suffixes(self, prefix: str) -> list[str]:
        """List what the names that begin like this have after the root, in all servers."""

        async def list_names(node: Node) -> list[str]:
            await node.begin_generation(self._names.generation, is_used=False)
            root = self._names.root(node.generation or "")
            return [name.removeprefix(root) for name in await node.list_names(root + prefix)]

        listed = await self._each(list_names)
        return sorted({suffix for suffixes in listed for suffix in suffixes})

    async def begin_another_generation(self) -> bool:
        """Make all entries unreachable. Returns True if something was written in the last one."""
        name = self._names.generation
        return any(await self._each(lambda node: node.replace_generation(name)))

    async def ping(self) -> None:
        """Ask every server."""
        await self._each(lambda node: node.ask([protocol.get(self._names.generation)]))

    async def _each(self, call: Callable[[Node], Coroutine[Any, Any, T]]) -> list[T]:
        async def run(cluster: Cluster) -> list[T]:
            outcomes = await gather_outcomes([call(node) for node in cluster.nodes])
            for outcome in outcomes:
                if isinstance(outcome, Exception):
                    raise outcome
            return [outcome for outcome in outcomes if not isinstance(outcome, Exception)]

        return await self._client.run(run)


def _get(_: int, name: str) -> tuple[bytes, ...]:
    return (protocol.get(name),)
