"""A server with the interfaces of S3 and DynamoDB for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from kvwrap.testing.servers.http import HTTPServer


class MotoServer(HTTPServer):
    """Moto, which has the interfaces of S3 and DynamoDB, started by this process, empty, in memory.

    >>> with MotoServer() as server:  # doctest: +SKIP
    ...     store = ObjectStore(f"s3://bucket?endpoint={server.url}")

    Args:
        arguments: Additional arguments for the server's command line.
        program: Name or path of the program to run instead of `moto_server`.

    Raises:
        MissingServerError: `moto_server` is not installed.
    """

    program_name: ClassVar[str] = "moto_server"
    start_timeout: ClassVar[float] = 60.0

    @property
    def url(self) -> str:
        """The endpoint of all services, which takes any credentials."""
        return f"http://127.0.0.1:{self.port}"

    def command(self, folder: Path) -> Sequence[str]:
        return [
            *("--host", "127.0.0.1", "--port", str(self.port)),
        ]
