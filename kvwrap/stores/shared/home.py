"""The event loop and the process to which connections belong."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from kvwrap.errors import StoreUnavailable

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

    def make_way(self, *, stays: bool, store: str) -> bool:
        """Decide what becomes of these connections when the store is used where they are not.

        Args:
            stays: True for connections of a user's client, which cannot be left.
            store: Name of the store, for errors.

        Returns:
            True if they are to be ended here, False if they are a parent process's.

        Raises:
            StoreUnavailable: They cannot be left, or are in use there.
        """
        is_inherited = self.is_inherited
        if stays or (not is_inherited and self.is_in_use):
            place = "process" if is_inherited else "event loop"
            raise StoreUnavailable(
                f"a {store} must be used in one {place} at a time, and a `client` only in the "
                f"{place} of its connections; they are in use in another {place}: create another "
                "client or store here, or close that one first",
                store=store,
            )
        if is_inherited:
            self.keep()
        return not is_inherited
