"""Commands for many keys, sent to the servers that have them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from kvwrap.core.concurrency import gather
from kvwrap.core.primitives import Collection
from kvwrap.errors import KvwrapError, StoreFull, ValueTooLarge
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
        server: Names and addresses of the servers, for errors.
        store: Name of the store, for errors.
    """

    def __init__(self, client: Client[Cluster], names: Names, *, server: str, store: str) -> None:
        self._client = client
        self._names = names
        self._server = server
        self._store = store

    def get(
        self, collection: Collection, keys: Sequence[str], suffixes: Sequence[str]
    ) -> Coroutine[Any, Any, list[list[Reply]]]:
        """Read the values of keys, given what their names have after the root, as `ask` does."""
        return self.ask(collection, keys, suffixes, _get, writes=False)

    async def ask(
        self,
        collection: Collection,
        keys: Sequence[str],
        suffixes: Sequence[str],
        commands: Commands,
        *,
        writes: bool,
        each: int = 1,
        done: Sequence[bytes] = (STORED,),
    ) -> list[list[Reply]]:
        """Send the commands of each key to its server, all at the same time.

        Args:
            collection: Collection of the keys, for errors.
            keys: The keys.
            suffixes: What their names have after the root.
            commands: The commands.
            writes: True if they change something.
            each: Number of commands for each key.
            done: The statuses of the last one that say that its key was done.

        Returns:
            A list for each command of a key, with the answers for the keys.

        Raises:
            ValueTooLarge: The server does not take a value. The others are stored.
            StoreFull: The server has no memory for a value. Others may be stored.
            KvwrapError: A server failed. The error names the keys for which it has answered.
        """
        replies: list[dict[int, Reply]] = [{} for _ in range(each)]
        indices = range(len(keys))

        def ask(cluster: Cluster) -> Awaitable[object]:
            if len(cluster.nodes) == 1:
                return self._ask_node(
                    cluster.nodes[0], indices, suffixes, commands, writes, replies
                )
            return gather(
                [
                    self._ask_node(node, own, suffixes, commands, writes, replies)
                    for node, own in cluster.divide(suffixes)
                ]
            )

        try:
            if keys:
                await self._client.run(ask, collection=collection)
            if writes:
                for index in indices:
                    self._check_stored(collection, keys[index], replies[-1][index])
        except KvwrapError as error:
            if writes and len(keys) > 1:
                last = map(replies[-1].get, indices)
                error.succeeded = tuple(
                    key
                    for key, reply in zip(keys, last, strict=True)
                    if reply is not None and reply.status in done
                )
            raise
        return [[each[index] for index in indices] for each in replies]

    async def _ask_node(
        self,
        node: Node,
        indices: Sequence[int],
        suffixes: Sequence[str],
        commands: Commands,
        writes: bool,
        replies: Sequence[dict[int, Reply]],
    ) -> None:
        """Send commands together with the question for the generation, until it is the right one.

        What is written under the name of an older generation is never read.
        """
        name = self._names.generation
        is_known = False
        while not is_known:
            generation = node.generation
            if generation is None or (writes and not node.is_used):
                await node.begin_generation(name, is_used=writes)
                continue
            root = self._names.root(generation)
            sent = [protocol.get(name)]
            for index in indices:
                sent += commands(index, root + suffixes[index])
            received: list[Reply] = []
            try:
                await node.ask(sent, received)
            finally:  # what was answered before a failure has happened
                if received:
                    node.note_generation(received[0])
                    # Not the one that was known last: another call may have seen a new one since.
                    is_known = node.generation == generation
                if is_known:
                    for number, answers in enumerate(replies, 1):
                        answers.update(zip(indices, received[number :: len(replies)]))

    def _check_stored(self, collection: Collection, key: str, reply: Reply) -> None:
        """Raise the error for a write that the server refused."""
        context: dict[str, Any] = {"store": self._store, "collection": collection, "key": key}
        if reply.status == protocol.NO_MEMORY:
            raise StoreFull(f"{self._server} {protocol.NO_ROOM}", **context)
        if reply.status in protocol.REFUSED:
            raise ValueTooLarge(
                "an entry must be smaller than the server's item limit (1 MB unless changed with "
                "-I); got a larger one",
                **context,
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
        changed: dict[int, bool] = {}
        pending = list(range(len(keys)))
        try:
            while pending:
                turn = sorted({keys[index]: index for index in reversed(pending)}.values())
                await self._change_once(collection, keys, suffixes, decide, turn, changed)
                pending = [index for index in pending if index not in changed]
        except KvwrapError as error:
            if len(keys) > 1:
                error.succeeded = tuple(keys[index] for index in sorted(changed))
            raise
        return [changed[index] for index in range(len(keys))]

    async def _change_once(
        self,
        collection: Collection,
        keys: Sequence[str],
        suffixes: Sequence[str],
        decide: Decide,
        turn: Sequence[int],
        changed: dict[int, bool],
    ) -> None:
        """Do so for the different keys with these indices, and add what is settled to `changed`."""
        (held,) = await self.get(collection, [keys[i] for i in turn], [suffixes[i] for i in turn])
        decided: dict[int, Command] = {}
        for index, reply in zip(turn, held, strict=True):
            head = None
            if reply.value is not None:
                head = self._names.head(suffixes[index], reply.value)
            command = decide(index, head, reply.cas)
            if command is None:
                changed[index] = False
            else:
                decided[index] = command
        sent = list(decided.values())
        own = [keys[index] for index in decided]
        try:
            (replies,) = await self.ask(
                collection,
                own,
                [suffixes[index] for index in decided],
                lambda number, name: (sent[number](name),),
                writes=True,
            )
        except KvwrapError as error:
            done = set(error.succeeded or ())
            changed.update((index, True) for index, key in zip(decided, own) if key in done)
            raise
        for index, reply in zip(decided, replies, strict=True):
            if reply.status == STORED:
                changed[index] = True

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
            return await gather([call(node) for node in cluster.nodes])

        return await self._client.run(run)


def _get(_: int, name: str) -> tuple[bytes, ...]:
    return (protocol.get(name),)
