"""A Redis server for tests."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from kvwrap.errors import StoreUnavailable
from kvwrap.testing.servers.base import START_TIMEOUT, LocalServer


class RedisServer(LocalServer):
    """A Redis server of this process, empty, keeping nothing on disk.

    >>> with RedisServer() as server:  # doctest: +SKIP
    ...     store = RedisStore(server.url)

    Args:
        arguments: Further options on the server's command line.
        program: The program to run, instead of the `redis-server` that is found.

    Raises:
        ConfigurationError: There is no `redis-server`.
    """

    program_name: ClassVar[str] = "redis-server"

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    def command(self, folder: Path) -> Sequence[str]:
        return [
            *("--bind", "127.0.0.1", "--port", str(self.port)),
            *("--dir", str(folder), "--save", "", "--appendonly", "no"),
        ]

    def answers(self, timeout: float = 1.0) -> bool:
        try:
            # A server that asks for a password answers too.
            return self._ask("PING", timeout)[:1] in {b"+", b"-"}
        except OSError:
            return False

    def flush(self) -> None:
        """Delete all its data.

        Raises:
            StoreUnavailable: It does not answer, or refuses.
        """
        try:
            answer = self._ask("FLUSHALL", START_TIMEOUT)
        except OSError as error:
            raise StoreUnavailable("the server does not answer") from error
        if not answer.startswith(b"+"):
            raise StoreUnavailable(f"the server refused: {answer.decode(errors='replace')}")

    def _ask(self, command: str, timeout: float) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as link:
            link.sendall(f"{command}\r\n".encode())
            return link.recv(256)
