"""A server with DynamoDB's interface for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from kvwrap.testing.servers.http import HTTPServer


class DynamoDBServer(HTTPServer):
    """Dynoxide, which has DynamoDB's interface, started by this process, empty.

    It keeps its data when it is restarted. Expired items stay in it, as they may for days in
    DynamoDB.

    >>> with DynamoDBServer() as server:  # doctest: +SKIP
    ...     store = DynamoDBStore(f"dynamodb://table?region=eu-1&endpoint_url={server.url}")

    Args:
        arguments: Additional arguments for the server's command line.
        program: Name or path of the program to run instead of `dynoxide`.

    Raises:
        MissingServerError: `dynoxide` is not installed.
    """

    program_name: ClassVar[str] = "dynoxide"

    @property
    def url(self) -> str:
        """The endpoint, which takes any credentials."""
        return f"http://127.0.0.1:{self.port}"

    def command(self, folder: Path) -> Sequence[str]:
        return [
            "serve",
            *("--host", "127.0.0.1", "--port", str(self.port)),
            *("--db-path", str(folder / "data.db")),
        ]
