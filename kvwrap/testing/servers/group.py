"""Several servers that are used as one, such as a cluster."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from kvwrap.errors import StoreUnavailable
from kvwrap.testing.servers.base import LocalServer

JOIN_TIMEOUT = 60.0
"""Maximum seconds until servers that have started know each other."""


class ServerGroup(LocalServer):
    """Servers that know each other. A subclass defines `members`, `join` and `url`.

    `port` and `pid` are those of no server here, and a single member is frozen or killed.
    """

    @property
    def members(self) -> Sequence[LocalServer]:
        """The servers, in the order in which they are started."""
        raise NotImplementedError

    def join(self) -> None:
        """Make the servers know each other, after they have started."""
        raise NotImplementedError

    def start(self) -> Self:
        """Start the servers and wait until they know each other.

        Raises:
            StoreUnavailable: A server did not start, or they do not find each other.
        """
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="kvwrap-servers-")
            for member in self.members:
                member.start()
            self.join()
        return self

    def kill(self) -> None:
        for member in self.members:
            member.kill()

    def stop(self) -> None:
        for member in self.members:
            member.stop()
        super().stop()

    @property
    def folder(self) -> Path:
        """The folder of the group. Raises StoreUnavailable if it is not running."""
        if self._folder is None:
            raise StoreUnavailable(f"{type(self).__name__} is not running; call start() first")
        return Path(self._folder.name)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait until servers have come to a state. Raises StoreUnavailable if they do not."""
    deadline = time.monotonic() + JOIN_TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise StoreUnavailable(f"{what} within {JOIN_TIMEOUT:.0f} s")
        time.sleep(0.02)
