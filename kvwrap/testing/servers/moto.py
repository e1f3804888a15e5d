"""A server with the interfaces of S3 and DynamoDB for tests."""

from __future__ import annotations

import http.client
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from kvwrap.testing.servers.http import HTTPServer


class MotoServer(HTTPServer):
    """Moto, which has the interfaces of S3 and DynamoDB, started by this process, empty, in memory.

    >>> with MotoServer() as server:  # doctest: +SKIP
    ...     server.make_bucket(server.url, "bucket")
    ...     store = ObjectStore("s3://bucket", endpoint=server.url)

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

    @staticmethod
    def make_bucket(url: str, name: str) -> None:
        """Create a bucket of S3, unless it exists.

        Args:
            url: URL of a server of this class.
            name: Name of the bucket.
        """
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        connection.request("PUT", f"/{name}")
        status = connection.getresponse().status
        connection.close()
        assert status == http.client.OK, f"the bucket was not created: status {status}"
