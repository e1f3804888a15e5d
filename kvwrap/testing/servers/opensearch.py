"""An OpenSearch server for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from kvwrap.testing.servers.http import HTTPServer


class OpenSearchServer(HTTPServer):
    """A node of OpenSearch started by this process, empty, without security.

    It keeps its data when it is restarted. It needs about 400 MB of memory and 10 seconds to start.

    >>> with OpenSearchServer() as server:  # doctest: +SKIP
    ...     store = OpenSearchStore(f"{server.url}/prefix")

    Args:
        arguments: Additional arguments for the server's command line.
        program: Name or path of the program to run instead of `opensearch-node`.

    Raises:
        MissingServerError: `opensearch-node` is not installed.
    """

    program_name: ClassVar[str] = "opensearch-node"
    start_timeout: ClassVar[float] = 100.0

    @property
    def url(self) -> str:
        """The URL of the server, without a prefix of indexes."""
        return f"opensearch://127.0.0.1:{self.port}"

    def command(self, folder: Path) -> Sequence[str]:
        return [str(self.port), str(folder)]

    def answers(self, timeout: float = 1.0) -> bool:
        return self.status("/_cluster/health", timeout) == 200
