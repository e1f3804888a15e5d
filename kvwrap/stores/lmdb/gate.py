"""The transactions of this process, and the moments without any."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kvwrap.errors import StoreTimeout


class Gate:
    """Counts the transactions of an environment, and keeps them out while its map is replaced.

    Args:
        timeout: Seconds to wait for the transactions of other threads.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._changed = threading.Condition()
        self._inside = 0
        self._is_shut = False

    @property
    def is_empty(self) -> bool:
        """True while there is no transaction."""
        return not self._inside

    def try_enter(self) -> bool:
        """Begin a transaction, unless that would have to wait. Returns True if it may begin."""
        with self._changed:
            if self._is_shut:
                return False
            self._inside += 1
            return True

    def enter(self) -> None:
        """Begin a transaction, after a replacement of the map that is in progress."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_shut)
            self._inside += 1

    def leave(self) -> None:
        """End a transaction."""
        with self._changed:
            self._inside -= 1
            if not self._inside:
                self._changed.notify_all()

    @contextmanager
    def alone(self, *, patiently: bool = False) -> Iterator[None]:
        """Run the block while no other thread has a transaction.

        Args:
            patiently: True to wait for as long as it takes.

        Raises:
            StoreTimeout: One had one for `timeout` seconds.
        """
        timeout = None if patiently else self._timeout
        with self._changed:
            self._changed.wait_for(lambda: not self._is_shut)
            self._is_shut = True
            was_emptied = self._changed.wait_for(lambda: not self._inside, timeout)
        try:
            if not was_emptied:
                raise StoreTimeout(
                    "the map of an LMDB environment must grow, for which no transaction of this "
                    f"process may be open; one was for {self._timeout:g} seconds"
                )
            yield
        finally:
            with self._changed:
                self._is_shut = False
                self._changed.notify_all()
