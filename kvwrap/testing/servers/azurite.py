"""A server with the interface of Azure's blob storage for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from kvwrap.testing.servers.http import HTTPServer


class AzuriteServer(HTTPServer):
    """Azurite, which has the interface of Azure's blob storage, started by this process, empty.

    It keeps its data when it is restarted.

    >>> with AzuriteServer() as server:  # doctest: +SKIP
    ...     store = ObjectStore(f"az://container?endpoint={server.url}")

    Args:
        arguments: Additional arguments for the server's command line.
        program: Name or path of the program to run instead of `azurite-blob`.

    Raises:
        MissingServerError: `azurite-blob` is not installed.
    """

    program_name: ClassVar[str] = "azurite-blob"
    start_timeout: ClassVar[float] = 60.0

    @property
    def url(self) -> str:
        """The endpoint of the account `devstoreaccount1`, with the key that Azurite documents."""
        return f"http://127.0.0.1:{self.port}/devstoreaccount1"

    def command(self, folder: Path) -> Sequence[str]:
        return [
            *("--blobHost", "127.0.0.1", "--blobPort", str(self.port)),
            *("--location", str(folder), "--silent", "--disableTelemetry", "--skipApiVersionCheck"),
        ]
