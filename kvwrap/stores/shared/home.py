"""The event loop and the process to which connections belong."""

from __future__ import annotations

import asyncio
import os
from typing import Final

_INHERITED: Final[list[object]] = []


class Home:
    """What connections of the running event loop remember of it.

    Attributes:
        loop: The event loop that ran when this was created.
    """

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._pid = os.getpid()

    @property
    def is_inherited(self) -> bool:
        """True in a process that was forked from the one whose connections these are."""
        return os.getpid() != self._pid

    @property
    def is_here(self) -> bool:
        """True in the event loop and the process whose connections these are."""
        return asyncio.get_running_loop() is self.loop and os.getpid() == self._pid

    @property
    def is_in_use(self) -> bool:
        """True while the event loop of these connections runs, in another thread."""
        return self.loop.is_running()

    def keep(self) -> None:
        """Keep connections that are a parent's: to close one here would close it there too."""
        _INHERITED.append(self)
