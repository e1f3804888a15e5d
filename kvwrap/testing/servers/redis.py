"""A Redis server for tests."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from kvwrap.errors import StoreUnavailable
from kvwrap.testing.servers.base import START_TIMEOUT, LocalServer


class RedisServer(LocalServer):
    """A Redis server started by this process, empty, which writes no data to disk.

    >>> with RedisServer() as server:  # doctest: +SKIP
    ...     store = RedisStore(server.url)

    Args:
        arguments: Additional arguments for the server's command line.
        program: Name or path of the program to run instead of `redis-server`.

    Raises:
        ConfigurationError: `redis-server` is not installed.
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
            # An error is an answer too: the server may require a password.
            return self.run("PING", timeout=timeout)[:1] in {b"+", b"-"}
        except StoreUnavailable:
            return False

    def flush(self) -> None:
        """Delete all data of the server.

        Raises:
            StoreUnavailable: The server does not answer, or refuses the command.
        """
        reply = self.run("FLUSHALL")
        if not reply.startswith(b"+"):
            raise StoreUnavailable(
                f"Redis at 127.0.0.1:{self.port} refused FLUSHALL: "
                f"{reply.decode(errors='replace').strip()}"
            )

    def run(self, command: str, *, timeout: float = START_TIMEOUT) -> bytes:
        """Run a command, whose words are separated by spaces.

        Returns the answer in the protocol of Redis: all of a text or an error, and the beginning
        of an array.

        Raises:
            StoreUnavailable: The server does not answer within `timeout` seconds.
        """
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
                connection.sendall(f"{command}\r\n".encode())
                answer = connection.recv(65536)
                while answer[:1] == b"$" and len(answer) < int(answer[1 : answer.index(b"\r")]):
                    answer += connection.recv(65536)
                return answer
        except OSError as error:
            raise StoreUnavailable(f"no answer from Redis at 127.0.0.1:{self.port}") from error
