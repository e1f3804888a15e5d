"""An OpenSearch server for tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Final

from kvwrap.testing.servers.http import HTTPServer

_MEMORY: Final = Path("/dev/shm")
_SPACE: Final = 1024**3
"""Bytes that must be free there."""


class OpenSearchServer(HTTPServer):
    """A node of OpenSearch started by this process, empty, without security.

    It keeps its data when it is restarted, in memory if there is a file system for it: it waits for
    the disk at every write. It needs about 400 MB of memory and 10 seconds to start.

    >>> with OpenSearchServer() as server:  # doctest: +SKIP
    ...     store = ElasticsearchStore(f"{server.url}/prefix")

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

    def parent(self) -> Path | None:
        has_space = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free >= _SPACE
        return _MEMORY if has_space and os.access(_MEMORY, os.W_OK) else None

    def command(self, folder: Path) -> Sequence[str]:
        return [str(self.port), str(folder)]

    def answers(self, timeout: float = 1.0) -> bool:
        return self.status("/_cluster/health", timeout) == 200
