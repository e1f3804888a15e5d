"""The servers of a store: what each is asked, and which has a key."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import quote, unquote

from kvwrap.errors import KvwrapError, StoreUnavailable
from kvwrap.stores.memcached import protocol
from kvwrap.stores.memcached.connections import (
    ClientConnections,
    Connections,
    OwnConnections,
    Servers,
    address_of,
)
from kvwrap.stores.memcached.given_up import Connection
from kvwrap.stores.memcached.protocol import NOTHING, Reply
from kvwrap.stores.shared.client import Driver
from kvwrap.stores.shared.tls import WHETHER_TLS, WITHOUT_TLS, has_no_tls

if TYPE_CHECKING:
    from aiomcache import FlagClient

_USED: Final = "+"
"""What a generation ends with in which something was written."""
_GENERATION: Final = re.compile(rb"[0-9a-f]{16}\+?")
"""The item under the name of a generation, as this store writes it."""
_NAME: Final = re.compile("[!-~]+")
"""A name that can be part of a command; others can be stored, in base64."""
_PAUSE: Final = 0.05
"""Seconds between two requests to list the names, while the server lists them for another."""


class Node:
    """One server.

    Args:
        connections: The connections to it.

    Attributes:
        generation: The generation that was last seen; None before the first answer.
        is_used: True if the server knows that something was written in it.
    """

    generation: str | None = None
    is_used = False

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._seen = b""

    async def ask(
        self, commands: Sequence[bytes], replies: list[Reply] | None = None
    ) -> list[Reply]:
        """Send commands together, and return their answers.

        A value over the item limit is not sent: the server would delete the one that it replaces.
        If the call is cancelled, what it sent has been carried out when the next call begins.

        Args:
            commands: The commands.
            replies: Gets the answers, also those that came before a failure.

        Raises:
            StoreUnavailable: The server cannot be reached, or does not answer as memcached.
        """
        connections = self._connections
        replies = [] if replies is None else replies
        try:
            connection = await connections.take()
            try:
                longest = connections.longest
                if max(map(len, commands)) > longest:
                    commands = [each if len(each) <= longest else NOTHING for each in commands]
                connection.writer.write(b"".join(commands))
                await protocol.read_replies(connection.reader, len(commands), replies)
            except BaseException as error:
                connections.give_up(connection, error)
                raise
        except BaseException as error:
            self._raise(error)
        connections.give_back(connection)
        return replies

    def _raise(self, error: BaseException) -> NoReturn:
        """Raise an error as one that names the server, if it is about the server."""
        where = f"memcached at {self._connections.address}"
        if isinstance(error, KvwrapError):
            error.message = f"{where} {error.message}"
            error.args = (error.message,)
        elif isinstance(error, asyncio.IncompleteReadError | asyncio.LimitOverrunError):
            hint = "" if self._connections.tls else f", and {WHETHER_TLS}"
            raise StoreUnavailable(
                f"{where} has closed the connection: check its log{hint}"
            ) from error
        elif has_no_tls(error):
            raise StoreUnavailable(f"{where} {WITHOUT_TLS}") from error
        elif isinstance(error, OSError):
            raise StoreUnavailable(
                f"{where} cannot be reached ({error.strerror or type(error).__name__}): check its "
                "host, port and TLS, and that it runs"
            ) from error
        raise error

    # -- generations -------------------------------------------------------------------

    async def begin_generation(self, name: str, *, is_used: bool) -> None:
        """Find out the generation, or begin one if the server has none.

        What is no generation is replaced: it would become a part of commands.

        Args:
            name: Name of the generation.
            is_used: True to record that something is written in it.
        """
        new = secrets.token_hex(8).encode()
        _, reply = await self.ask(
            [protocol.put(name, new, protocol.if_absent()), protocol.get(name)]
        )
        self.note_generation(reply)
        if self.generation is None and reply.value is not None:
            condition = protocol.if_number(reply.cas)
            _, reply = await self.ask([protocol.put(name, new, condition), protocol.get(name)])
            self.note_generation(reply)
        if is_used and not self.is_used and self.generation is not None:
            value = f"{self.generation}{_USED}".encode()
            condition = protocol.if_number(reply.cas)
            _, reply = await self.ask([protocol.put(name, value, condition), protocol.get(name)])
            self.note_generation(reply)

    def note_generation(self, reply: Reply) -> None:
        """Remember the generation of an answer.

        An item that this store did not write does not count as a generation.
        """
        value = reply.value or b""
        if value != self._seen:
            self._seen = value
            text = value.decode() if _GENERATION.fullmatch(value) else ""
            self.generation, self.is_used = text.removesuffix(_USED) or None, text.endswith(_USED)

    async def replace_generation(self, name: str) -> bool:
        """Begin another generation. Returns True if something was written in the last one."""
        await self.begin_generation(name, is_used=False)
        was_used = self.is_used
        await self.ask([protocol.put(name, secrets.token_hex(8).encode())])
        self.note_generation(Reply(protocol.MISSING))
        return was_used

    # -- enumeration -------------------------------------------------------------------

    async def list_names(self, root: str) -> list[str]:
        """List all names that begin like this. The server lists for one connection at a time."""
        connections = self._connections
        try:
            connection = await connections.take()
            try:
                names = await self._list(connection, b"hash", root)
                if names is None:
                    names = await self._list_all(connection, root)
            except BaseException as error:
                connections.give_up(connection, error)
                raise
        except BaseException as error:
            self._raise(error)
        connections.give_back(connection)
        return names

    async def _list_all(self, connection: Connection, root: str) -> list[str]:
        """List in the order of last use, which older servers do, and which may miss a few."""
        names = await self._list(connection, b"all", root)
        if names is None:
            raise StoreUnavailable("must have its crawler enabled, to list names (lru_crawler)")
        return names

    async def _list(self, connection: Connection, mode: bytes, root: str) -> list[str] | None:
        start = f"key={quote(root, safe='')}".encode()
        names: list[str] = []
        connection.writer.write(b"lru_crawler metadump %b\r\n" % mode)
        while True:
            line = await connection.reader.readuntil(b"\n")
            if line.startswith(start):
                name = unquote(line.split(b" ", 1)[0][4:].decode())
                if _NAME.fullmatch(name):
                    names.append(name)
            elif line.startswith(b"END"):
                return names
            elif line.startswith(b"BUSY"):
                await asyncio.sleep(_PAUSE)
                connection.writer.write(b"lru_crawler metadump %b\r\n" % mode)
            elif not line.startswith(b"key="):
                return None

    async def close(self) -> None:
        """Close the connections, if they are the store's."""
        await self._connections.close()

    def abandon(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the connections of an event loop that no longer runs."""
        self._connections.abandon(loop)


class Cluster:
    """The servers, each with a share of the names (rendezvous hashing)."""

    def __init__(self, connections: Sequence[Connections]) -> None:
        self.nodes = [Node(each) for each in connections]
        self._seeds = [str(each.address).encode() for each in connections]

    def divide(self, suffixes: Sequence[str]) -> list[tuple[Node, Sequence[int]]]:
        """Return the servers that have these entries, each with the indexes of its own."""
        by_node: dict[int, list[int]] = {}
        for index, suffix in enumerate(suffixes):
            by_node.setdefault(self._node_of(suffix), []).append(index)
        return [(self.nodes[number], indices) for number, indices in by_node.items()]

    def _node_of(self, suffix: str) -> int:
        """Return the index of the server that has an entry."""
        name = suffix.encode()
        weights = [blake2b(name, digest_size=8, key=seed[-64:]).digest() for seed in self._seeds]
        return weights.index(max(weights))


class Memcached(Driver[Cluster]):
    """Connects to the servers, each when it is first asked.

    Args:
        servers: The servers; None with clients.
        clients: Clients of aiomcache, one for each server.
    """

    def __init__(self, servers: Servers | None, clients: Sequence[FlagClient[Any]] = ()) -> None:
        self._servers = servers
        self._clients = clients
        addresses = [address_of(each) for each in clients] if servers is None else servers.addresses
        self.server = f"memcached at {','.join(map(str, addresses))}"
        self.servers = tuple(addresses)

    async def connect(self) -> Cluster:
        if self._servers is None:
            return Cluster([ClientConnections(client) for client in self._clients])
        return Cluster([OwnConnections(self._servers, each) for each in self._servers.addresses])

    async def disconnect(self, client: Cluster) -> None:
        for node in client.nodes:
            await node.close()

    def abandon(self, client: Cluster, loop: asyncio.AbstractEventLoop) -> None:
        for node in client.nodes:
            node.abandon(loop)

    def translate(self, error: Exception) -> KvwrapError | None:
        return None
