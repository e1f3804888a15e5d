"""The servers of a store, and the connections to each."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, NoReturn
from urllib.parse import quote, unquote

from kvwrap.errors import KvwrapError, StoreUnavailable
from kvwrap.stores.memcached import protocol
from kvwrap.stores.memcached.protocol import Reply
from kvwrap.stores.shared.client import Driver
from kvwrap.stores.shared.tls import WHETHER_TLS, WITHOUT_TLS, Tls, has_no_tls
from kvwrap.stores.shared.transports import end_transport
from kvwrap.stores.shared.urls import Address

_USED: Final = "+"
"""What a generation ends with in which something was written."""
_PAUSE: Final = 0.05
"""Seconds between two requests to list the names, while the server lists them for another."""


@dataclass(frozen=True, kw_only=True)
class Servers:
    """The servers and the login; the arguments of `MemcachedStore`, which documents them."""

    addresses: Sequence[Address]
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer


class Node:
    """One server.

    Args:
        servers: The login.
        address: Where the server listens.

    Attributes:
        generation: The generation that was last seen; None before the first answer.
        is_used: True if the server knows that something was written in it.
    """

    generation: str | None = None
    is_used = False
    _longest = sys.maxsize  # bytes of a command that the server takes

    def __init__(self, servers: Servers, address: Address) -> None:
        self._servers = servers
        self._address = address
        self._idle: list[_Connection] = []
        self._is_closed = False

    async def ask(self, commands: Sequence[bytes]) -> list[Reply]:
        """Send commands together, and return their answers.

        A value over the item limit is not sent: the server would delete the one that it replaces.
        A connection whose call fails or is cancelled is aborted, with what is not sent yet.

        Raises:
            StoreUnavailable: The server cannot be reached, or does not answer as memcached.
        """
        connection: _Connection | None = None
        try:
            connection = self._take() or await self._connect()
            fitting = [command for command in commands if len(command) <= self._longest]
            connection.writer.write(b"".join(fitting))
            replies = await protocol.read_replies(connection.reader, len(fitting))
        except BaseException as error:
            if connection is not None:
                connection.writer.transport.abort()
            self._raise(error)
        if self._is_closed:
            connection.writer.transport.abort()
        else:
            self._idle.append(connection)
        if len(fitting) == len(commands):
            return replies
        answers = iter(replies)
        return [
            next(answers) if len(command) <= self._longest else Reply(protocol.TOO_LARGE)
            for command in commands
        ]

    def _take(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if not connection.reader.at_eof() and not connection.writer.is_closing():
                return connection
            connection.writer.transport.abort()
        return None

    async def _connect(self) -> _Connection:
        tls = self._servers.tls
        reader, writer = await asyncio.open_connection(
            self._address.host,
            self._address.port,
            ssl=None if tls is None else tls.context(),
        )
        try:
            if self._servers.username is not None:
                await self._log_in(reader, writer)
            # Of each connection: a server that was started again may have another limit.
            writer.write(protocol.SETTINGS)
            limit = await protocol.read_item_limit(reader)
            if limit is not None:
                self._longest = protocol.largest_command(limit)
        except BaseException:
            writer.transport.abort()
            raise
        return _Connection(reader, writer)

    async def _log_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A server that asks for no login would store it like a value, which anybody could read.
        writer.write(b"mn\r\n")
        if (await reader.readuntil(b"\r\n"))[:-2] == b"MN":
            raise StoreUnavailable(
                "asks for no login, and the one in the URL was not sent to it: start it with -Y, "
                "or leave out the login"
            )
        login = f"{self._servers.username} {self._servers.password or ''}".encode()
        writer.write(b"set login 0 0 %d\r\n%b\r\n" % (len(login), login))
        answer = (await reader.readuntil(b"\r\n"))[:-2]
        if answer != b"STORED":
            raise protocol.error_of(answer)

    def _raise(self, error: BaseException) -> NoReturn:
        """Raise an error as one that names the server, if it is about the server."""
        where = f"memcached at {self._address}"
        if isinstance(error, KvwrapError):
            error.message = f"{where} {error.message}"
            error.args = (error.message,)
        elif isinstance(error, asyncio.IncompleteReadError | asyncio.LimitOverrunError):
            hint = f", and {WHETHER_TLS}" if self._servers.tls is None else ""
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

        Args:
            name: Name of the generation.
            is_used: True to record that something is written in it.
        """
        new = secrets.token_hex(8).encode()
        _, reply = await self.ask(
            [protocol.put(name, new, protocol.if_absent()), protocol.get(name)]
        )
        self.note_generation(reply)
        if is_used and not self.is_used and self.generation is not None:
            value = f"{self.generation}{_USED}".encode()
            condition = protocol.if_number(reply.cas)
            _, reply = await self.ask([protocol.put(name, value, condition), protocol.get(name)])
            self.note_generation(reply)

    def note_generation(self, reply: Reply) -> bool:
        """Remember the generation of an answer. Returns True if it is the one that was known."""
        text = (reply.value or b"").decode(errors="replace")
        generation = text.removesuffix(_USED) or None
        is_known = generation is not None and generation == self.generation
        self.generation, self.is_used = generation, text.endswith(_USED)
        return is_known

    async def replace_generation(self, name: str) -> bool:
        """Begin another generation. Returns True if something was written in the last one."""
        await self.begin_generation(name, is_used=False)
        was_used = self.is_used
        await self.ask([protocol.put(name, secrets.token_hex(8).encode())])
        self.generation = None
        return was_used

    # -- enumeration -------------------------------------------------------------------

    async def list_names(self, root: str) -> list[str]:
        """List all names that begin like this. The server lists for one connection at a time."""
        connection: _Connection | None = None
        try:
            connection = await self._connect()
            names = await self._list(connection, b"hash", root)
            return names if names is not None else await self._list_all(connection, root)
        except BaseException as error:
            self._raise(error)
        finally:
            if connection is not None:
                connection.writer.transport.abort()

    async def _list_all(self, connection: _Connection, root: str) -> list[str]:
        """List in the order of last use, which older servers do, and which may miss a few."""
        names = await self._list(connection, b"all", root)
        if names is None:
            raise StoreUnavailable("must have its crawler enabled, to list names (lru_crawler)")
        return names

    async def _list(self, connection: _Connection, mode: bytes, root: str) -> list[str] | None:
        start = f"key={quote(root, safe='')}".encode()
        names: list[str] = []
        connection.writer.write(b"lru_crawler metadump %b\r\n" % mode)
        while True:
            line = await connection.reader.readuntil(b"\n")
            if line.startswith(start):
                names.append(unquote(line.split(b" ", 1)[0][4:].decode()))
            elif line.startswith(b"END"):
                return names
            elif line.startswith(b"BUSY"):
                await asyncio.sleep(_PAUSE)
                connection.writer.write(b"lru_crawler metadump %b\r\n" % mode)
            elif not line.startswith(b"key="):
                return None

    # -- closing -----------------------------------------------------------------------

    async def close(self) -> None:
        """Close the connections."""
        self._is_closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.writer.close()
        for connection in idle:
            with suppress(OSError):
                await connection.writer.wait_closed()

    def abandon(self, loop: asyncio.AbstractEventLoop) -> None:
        """End the connections of an event loop that no longer runs."""
        self._is_closed = True
        idle, self._idle = self._idle, []
        for connection in idle:
            end_transport(connection.writer.transport, loop)


class Cluster:
    """The servers, each with a share of the names (rendezvous hashing)."""

    def __init__(self, servers: Servers) -> None:
        self.nodes = [Node(servers, address) for address in servers.addresses]
        self._seeds = [str(address).encode() for address in servers.addresses]

    def node_of(self, suffix: str) -> int:
        """Return the index of the server that has an entry."""
        if len(self.nodes) == 1:
            return 0
        name = suffix.encode()
        weights = [blake2b(name, digest_size=8, key=seed[-64:]).digest() for seed in self._seeds]
        return weights.index(max(weights))


class Memcached(Driver[Cluster]):
    """Connects to the servers, each when it is first asked.

    Args:
        servers: The servers.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self.server = f"memcached at {','.join(map(str, servers.addresses))}"

    async def connect(self) -> Cluster:
        return Cluster(self._servers)

    async def disconnect(self, client: Cluster) -> None:
        for node in client.nodes:
            await node.close()

    def abandon(self, client: Cluster, loop: asyncio.AbstractEventLoop) -> None:
        for node in client.nodes:
            node.abandon(loop)

    def translate(self, error: Exception) -> KvwrapError | None:
        return None
