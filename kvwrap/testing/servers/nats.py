"""A NATS server with JetStream for tests."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from kvwrap.testing.servers.base import LocalServer, free_port
from kvwrap.testing.servers.group import ServerGroup, wait_until

_ASK: Final = b"CONNECT {}\r\nSUB kvwrap.ready 1\r\nPUB $JS.API.INFO kvwrap.ready 0\r\n\r\n"


class NATSServer(LocalServer):
    """A NATS server started by this process, with JetStream in its folder.

    >>> with NATSServer() as server:  # doctest: +SKIP
    ...     store = NATSStore(server.url)

    Args:
        arguments: Additional arguments for the server's command line.
        program: Name or path of the program to run instead of `nats-server`.

    Raises:
        ConfigurationError: `nats-server` is not installed.
    """

    program_name: ClassVar[str] = "nats-server"

    @property
    def url(self) -> str:
        """The URL of the server, without a bucket."""
        return f"nats://127.0.0.1:{self.port}"

    def command(self, folder: Path) -> Sequence[str]:
        return ["-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(folder / "jetstream")]

    def answers(self, timeout: float = 1.0) -> bool:
        """Ask JetStream for its limits, which it knows once it has a leader."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
                connection.sendall(_ASK)
                answer = b""
                while b"account_info_response" not in answer or not answer.endswith(b"}\r\n"):
                    part = connection.recv(65_536)
                    answer += part
                    # An error of the login is an answer too, and so is the wish for TLS.
                    if b"-ERR" in part or b'"tls_required":true' in part:
                        return True
                    if not part:
                        return False
                return b'"error"' not in answer
        except OSError:
            return False


class ClusterMember(NATSServer):
    """A server of a cluster, whose JetStream has a leader once most of the members run."""

    def answers(self, timeout: float = 1.0) -> bool:
        """Tell whether the server listens."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=timeout) as connection:
                return connection.recv(5) == b"INFO "
        except OSError:
            return False


class NATSCluster(ServerGroup):
    """Three servers of NATS that keep a bucket together.

    Attributes:
        nodes: The servers, named `n1` to `n3`.
    """

    program_name: ClassVar[str] = "nats-server"

    def __init__(self) -> None:
        super().__init__()
        ports = [free_port() for _ in range(3)]
        routes = ",".join(f"nats://127.0.0.1:{port}" for port in ports)
        self.nodes = [
            ClusterMember(
                *("-n", f"n{number}", "--cluster_name", "kvwrap", "--routes", routes),
                *("--cluster", f"nats://127.0.0.1:{port}"),
            )
            for number, port in enumerate(ports, 1)
        ]

    @property
    def members(self) -> Sequence[ClusterMember]:
        return self.nodes

    @property
    def url(self) -> str:
        """The URL of all servers, without a bucket."""
        return f"nats://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes)}"

    def join(self) -> None:
        wait_until(
            lambda: all(NATSServer.answers(node) for node in self.nodes),
            "the servers of NATS did not elect a leader",
        )
