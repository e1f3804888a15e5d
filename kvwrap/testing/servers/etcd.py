"""An etcd server for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from kvwrap.testing.servers.http import HTTPServer


class EtcdServer(HTTPServer):
    """An etcd server of one member started by this process, empty.

    It keeps its data when it is restarted, and does not wait for the disk.

    >>> with EtcdServer() as server:  # doctest: +SKIP
    ...     store = EtcdStore(server.url)

    Args:
        arguments: Additional arguments for the server's command line.
        program: Name or path of the program to run instead of `etcd`.

    Raises:
        MissingServerError: `etcd` is not installed.
    """

    program_name: ClassVar[str] = "etcd"

    @property
    def url(self) -> str:
        """The URL of the server, without a prefix of keys."""
        return f"etcd://127.0.0.1:{self.port}"

    def command(self, folder: Path) -> Sequence[str]:
        client = f"http://127.0.0.1:{self.port}"
        # Any free port, which nobody needs to know since there are no other members.
        peer = "http://127.0.0.1:0"
        return [
            *("--data-dir", str(folder / "data"), "--unsafe-no-fsync", "--log-level", "warn"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"default={peer}"),
        ]

    def answers(self, timeout: float = 1.0) -> bool:
        # Not ready while it elects itself.
        return self.status("/health", timeout) == 200
