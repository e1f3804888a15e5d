"""Servers for tests that speak HTTP."""

from __future__ import annotations

import http.client

from kvwrap.testing.servers.base import LocalServer


class HTTPServer(LocalServer):
    """A server that is ready when it answers a request, whatever the answer.

    A subclass defines what `LocalServer` says, except for `answers`.
    """

    def answers(self, timeout: float = 1.0) -> bool:
        return self.status("/", timeout) is not None

    def connection(self, timeout: float) -> http.client.HTTPConnection:
        """Return a connection to the server, which is opened by its first request."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def status(self, path: str, timeout: float) -> int | None:
        """Request a path. Returns the status of the answer, or None without one in time."""
        connection = self.connection(timeout)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
