"""A pgbouncer for tests: a pooler in front of a PostgreSQL server."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from kvwrap.testing.servers.base import LocalServer
from kvwrap.testing.servers.postgresql import USER, PostgreSQLServer, unprivileged


class PgBouncerServer(LocalServer):
    """A pgbouncer started by this process, with connections to a server of PostgreSQL.

    Args:
        server: The server, which has been started.
        mode: "session", "transaction" or "statement": after what a connection of the server is
            given to another client.
        size: Maximum number of connections to the server.

    Raises:
        MissingServerError: `pgbouncer` is not installed.
    """

    program_name: ClassVar[str] = "pgbouncer"

    def __init__(
        self, server: PostgreSQLServer, *, mode: str = "transaction", size: int = 4
    ) -> None:
        super().__init__()
        self._server = server
        self._mode = mode
        self._size = size

    @property
    def url(self) -> str:
        """The URL of the database `postgres` through pgbouncer, as a superuser."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/postgres"

    def account(self) -> str | None:
        return unprivileged()

    def command(self, folder: Path) -> Sequence[str]:
        (folder / "users.txt").write_text(f'"{USER}" ""\n')
        (folder / "pgbouncer.ini").write_text(
            f"""\
[databases]
postgres = host=127.0.0.1 port={self._server.port} user={USER}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users.txt
pool_mode = {self._mode}
default_pool_size = {self._size}
"""
        )
        return [str(folder / "pgbouncer.ini")]

    def answers(self, timeout: float = 1.0) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
                connection.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")  # may we use TLS?
                return connection.recv(1) in {b"N", b"S"}
        except OSError:
            return False
