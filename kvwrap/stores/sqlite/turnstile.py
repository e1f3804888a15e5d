"""Turns of processes that wait to write to one file.

SQLite lets the one write that asks first when the file is free, so a process that asks again at
once wins over those that have waited for a long time. Here the next one to write holds a lock on a
file beside the database while it waits, and the one that has just written finds that lock held. All
others that wait have the same chance to be the next.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: processes write in the order in which SQLite lets them
    fcntl = None  # type: ignore[assignment]  # checked where it is used

SUFFIX = "-turn"
"""What follows the name of the database in that of the file with the lock."""


class Turnstile:
    """The lock of those that wait, as one connection sees it. Without the file there is no order.

    Args:
        path: The path of the database.
    """

    def __init__(self, path: str) -> None:
        self._database = path
        self._path = path + SUFFIX
        self._file: int | None = None
        self._is_held = False

    def enter(self) -> bool:
        """Return True if this process is the next to write. It then is until `leave`."""
        if self._is_held or fcntl is None:
            return True
        if self._file is None:
            with suppress(OSError):
                self._open()
        if self._file is None:
            return True
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not self._is_current():  # others wait at another file of this name
                self.close()
            return False
        except OSError:
            return True
        self._is_held = True
        return True

    def leave(self) -> None:
        """Let another process be the next."""
        if self._is_held and self._file is not None:
            fcntl.flock(self._file, fcntl.LOCK_UN)
        self._is_held = False

    def close(self) -> None:
        """Close the file, and remove it if no process has the database open."""
        if self._file is None:
            return
        os.close(self._file)
        self._file, self._is_held = None, False
        if not Path(f"{self._database}-wal").exists():
            Path(self._path).unlink(missing_ok=True)

    def _open(self) -> None:
        mode = Path(self._database).stat().st_mode & 0o777
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        with suppress(OSError):
            # Those who may use the database may also wait, whatever the umask is.
            os.fchmod(file, mode)
        self._file = file

    def _is_current(self) -> bool:
        assert self._file is not None
        try:
            return os.path.samestat(os.fstat(self._file), Path(self._path).stat())
        except OSError:
            return False
