"""A server with MongoDB's protocol for tests."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from kvwrap.testing.servers.base import LocalServer

_QUERY = 2004
_IS_MASTER = b"\x13\0\0\0\x10isMaster\0\x01\0\0\0\0"
"""The document `{isMaster: 1}` as BSON."""


class MongoDBServer(LocalServer):
    """mongo-java-server, which has MongoDB's protocol, started by this process, empty, in memory.

    Operations on one document are atomic. It frees no expired documents, and has no transactions.

    >>> with MongoDBServer() as server:  # doctest: +SKIP
    ...     store = MongoDBStore(f"{server.url}/database")

    Args:
        arguments: Additional arguments for the server's command line.
        program: Name or path of the program to run instead of `mongo-java-server`.

    Raises:
        MissingServerError: `mongo-java-server` is not installed.
    """

    program_name: ClassVar[str] = "mongo-java-server"
    start_timeout: ClassVar[float] = 60.0

    @property
    def url(self) -> str:
        """The URL of the server, without a database."""
        return f"mongodb://127.0.0.1:{self.port}"

    def command(self, folder: Path) -> Sequence[str]:
        return [
            str(self.port),
        ]

    def answers(self, timeout: float = 1.0) -> bool:
        query = struct.pack("<i", 0) + b"admin.$cmd\0" + struct.pack("<ii", 0, -1) + _IS_MASTER
        message = struct.pack("<iiii", 16 + len(query), 1, 0, _QUERY) + query
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
                connection.sendall(message)
                return bool(connection.recv(16))
        except OSError:
            return False
