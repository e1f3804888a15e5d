"""A memcached server for tests."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from kvwrap.testing.servers.base import LocalServer


class MemcachedServer(LocalServer):
    """A memcached server started by this process, empty.

    >>> with MemcachedServer() as server:  # doctest: +SKIP
    ...     store = MemcachedStore(server.url)

    Args:
        arguments: Additional arguments for the server's command line.
        program: Name or path of the program to run instead of `memcached`.

    Raises:
        MissingServerError: `memcached` is not installed.
    """

    program_name: ClassVar[str] = "memcached"

    @property
    def url(self) -> str:
        """The URL of the server."""
        return f"memcached://127.0.0.1:{self.port}"

    def command(self, folder: Path) -> Sequence[str]:
        # As root it starts only if it is told which user to become.
        user = ["-u", "root"] if os.geteuid() == 0 else []
        return ["-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-m", "64", "-t", "2", *user]

    def answers(self, timeout: float = 1.0) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
                connection.sendall(b"version\r\n")
                # An error is an answer too: the server may require a login.
                return connection.recv(1024)[:7] in {b"VERSION", b"CLIENT_"}
        except OSError:
            return False
