"""Servers of etcd for tests."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from kvwrap.errors import StoreUnavailable
from kvwrap.testing.servers.base import free_port
from kvwrap.testing.servers.group import ServerGroup, wait_until
from kvwrap.testing.servers.http import HTTPServer

if TYPE_CHECKING:  # cryptography is loaded by tests that make certificates
    from kvwrap.testing.servers.certificates import Certificates


class EtcdServer(HTTPServer):
    """An etcd server of one member started by this process, empty.

    It keeps its data when it is restarted, and does not wait for the disk.

    >>> with EtcdServer() as server:  # doctest: +SKIP
    ...     store = EtcdStore(server.url)

    Args:
        arguments: Additional arguments for the server's command line.
        program: Name or path of the program to run instead of `etcd`.
        certificates: What the server presents to its clients; None for no TLS.

    Raises:
        MissingServerError: `etcd` is not installed.
    """

    program_name: ClassVar[str] = "etcd"

    def __init__(
        self,
        *arguments: str,
        program: str | None = None,
        certificates: Certificates | None = None,
    ) -> None:
        super().__init__(*arguments, program=program)
        self._certificates = certificates

    @property
    def url(self) -> str:
        """The URL of the server, without a prefix of keys."""
        return f"etcd://127.0.0.1:{self.port}"

    @property
    def peer_arguments(self) -> Sequence[str]:
        """The arguments that tell where the members of the cluster listen for each other."""
        # Any free port, which nobody needs to know since there are no other members.
        peer = "http://127.0.0.1:0"
        return [
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"default={peer}"),
        ]

    def command(self, folder: Path) -> Sequence[str]:
        scheme, files = "http", self._certificates
        tls: list[str] = []
        if files is not None:
            scheme = "https"
            tls = ["--cert-file", str(files.server_cert), "--key-file", str(files.server_key)]
        client = f"{scheme}://127.0.0.1:{self.port}"
        return [
            *("--data-dir", str(folder / "data"), "--unsafe-no-fsync", "--log-level", "warn"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *(*self.peer_arguments, *tls),
        ]

    def answers(self, timeout: float = 1.0) -> bool:
        # Not ready while it elects itself.
        return self.status("/health", timeout) == 200

    def connection(self, timeout: float) -> http.client.HTTPConnection:
        if self._certificates is None:
            return super().connection(timeout)
        context = ssl.create_default_context(cafile=str(self._certificates.ca))
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout, context=context)

    def call(self, path: str, *, token: str | None = None, **content: Any) -> Mapping[str, Any]:
        """Call the server's API in JSON, as an administrator does. Returns the answer.

        Args:
            path: Path of the call below `/v3/`.
            token: The token of a user, as `auth/authenticate` returns it; None for nobody.
            content: What the call gets; bytes in Base64.

        Raises:
            StoreUnavailable: The server refuses the call.
        """
        connection = self.connection(10)
        headers = {} if token is None else {"Authorization": token}
        try:
            connection.request("POST", f"/v3/{path}", json.dumps(content), headers)
            answer = connection.getresponse()
            parsed: Mapping[str, Any] = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise StoreUnavailable(f"etcd refused {path}: {parsed.get('message')}")
        return parsed


class EtcdMember(EtcdServer):
    """A member of a cluster, which has a leader once most of the members run.

    Args:
        number: Index of this member in the ports.
        ports: The ports on which the members listen for each other.
    """

    def __init__(self, number: int, ports: Sequence[int]) -> None:
        self._name = f"m{number}"
        self._peers = {f"m{n}": f"http://127.0.0.1:{port}" for n, port in enumerate(ports)}
        super().__init__("--name", self._name)

    @property
    def peer_arguments(self) -> Sequence[str]:
        own = self._peers[self._name]
        every = ",".join(f"{name}={url}" for name, url in self._peers.items())
        return [
            *("--listen-peer-urls", own, "--initial-advertise-peer-urls", own),
            *("--initial-cluster", every),
        ]

    def answers(self, timeout: float = 1.0) -> bool:
        """Tell whether the server listens."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=timeout):
                return True
        except OSError:
            return False


class EtcdCluster(ServerGroup):
    """Three servers of etcd that keep the same keys.

    Attributes:
        nodes: The servers.
    """

    program_name: ClassVar[str] = "etcd"

    def __init__(self) -> None:
        super().__init__()
        ports = [free_port() for _ in range(3)]
        self.nodes = [EtcdMember(number, ports) for number in range(len(ports))]

    @property
    def members(self) -> Sequence[EtcdMember]:
        return self.nodes

    @property
    def url(self) -> str:
        """The URL of all servers, without a prefix of keys."""
        return f"etcd://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes)}"

    @property
    def leader(self) -> EtcdMember:
        """The server that leads the others. Raises StoreUnavailable if no server leads now."""
        for node in self.nodes:
            if node.status("/health", 1.0) == 200:
                answer = node.call("maintenance/status")
                if answer["header"]["member_id"] == answer["leader"]:
                    return node
        raise StoreUnavailable("the servers of etcd have no leader now")

    def join(self) -> None:
        wait_until(
            lambda: all(EtcdServer.answers(node) for node in self.nodes),
            "the servers of etcd did not elect a leader",
        )
