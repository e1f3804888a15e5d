"""Servers that the tests of one process share: each is started when a test first asks for it."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Self, TypeVar

from kvwrap.testing.servers.base import LocalServer

ServerT = TypeVar("ServerT", bound=LocalServer)


class SharedServers:
    """One server of each class, started at its first use and stopped at the end.

    Tests that stop or freeze a server start one of their own. Tests that share a server use names
    of their own in it (a namespace, a table), since nothing is deleted between them.

    A server that runs already, such as one of `compose.yaml`, is used instead if the environment
    variable `KVWRAP_<NAME>_URL` has its URL: `KVWRAP_REDIS_URL` for a `RedisServer`.
    """

    def __init__(self) -> None:
        self._started: dict[type[LocalServer], LocalServer] = {}

    def url(self, kind: type[LocalServer]) -> str:
        """Return the URL of the server of this class.

        Raises:
            MissingServerError: Its program is not installed.
            StoreUnavailable: It did not start.
        """
        return os.environ.get(kind.url_variable()) or self.get(kind).url

    def get(self, kind: type[ServerT]) -> ServerT:
        """Return the server of this class that this process started.

        Raises:
            MissingServerError: Its program is not installed.
            StoreUnavailable: It did not start.
        """
        server = self._started.get(kind)
        if server is None:
            server = self._started[kind] = kind().start()
        assert isinstance(server, kind)
        return server

    def stop(self) -> None:
        """Stop the servers that were started."""
        while self._started:
            _, server = self._started.popitem()
            server.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
