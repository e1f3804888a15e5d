"""The file of a database as the file system has it: which file it is, and the room on its disk."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from kvwrap.stores.sqlite.errors import FileReplaced, NoRoom

RESERVE: Final = 1024 * 1024
"""Bytes of the disk that are left for the log of removals, so that a full store can be emptied."""


class DatabaseFile:
    """The file that a connection has open.

    Args:
        path: Its path.
        has_log: True if the connection keeps a log beside the file.
        is_frozen: True if SQLite does not look for changes of others. Then there must be none.
    """

    def __init__(self, path: str, *, has_log: bool = True, is_frozen: bool = False) -> None:
        self._path = Path(path)
        self._log = Path(f"{path}-wal")
        self._has_log = has_log
        self._is_frozen = is_frozen
        self._identity = self._identify()
        self._has_room = True

    def check(self) -> None:
        """Raise `FileReplaced` if the file or its log was removed or replaced.

        What SQLite writes then would be lost.
        """
        if self._identify() != self._identity:
            raise FileReplaced

    @property
    def is_exchanged(self) -> bool:
        """True if the path leads to another file."""
        now = self._identify()
        return now[0] is not None and now[0] != self._identity[0]

    def _identify(self) -> tuple[object, ...]:
        file = _stat(self._path)
        inode = file and (file.st_dev, file.st_ino)
        if self._has_log:
            log = _stat(self._log)
            return inode, log and log.st_ino
        if self._is_frozen and file is not None:
            return inode, file.st_mtime_ns, file.st_size, self._log.exists()
        return (inode,)

    def make_room(self, connection: sqlite3.Connection) -> None:
        """Copy the log into the file while the disk has space for that, before it gets full.

        A log that cannot be copied any more would leave no way to remove anything. One that has
        been copied is written again from its beginning, which takes no space.
        """
        free, log = _free(self._path), _size(self._log)
        if free >= 2 * RESERVE + log:
            self._has_room = True
            return
        is_copied = _copy_log(connection)
        free = _free(self._path)
        self._has_room = free >= RESERVE
        if not self._has_room and free + is_copied * log >= RESERVE // 2:
            # Entries go into the place of those that were removed, and need space in the log only.
            (pages,) = connection.execute("PRAGMA freelist_count").fetchone()
            (size,) = connection.execute("PRAGMA page_size").fetchone()
            self._has_room = pages * size > RESERVE // 2

    def check_room(self) -> None:
        """Raise `NoRoom` if the space that is left is for removals."""
        if not self._has_room:
            raise NoRoom


def _copy_log(connection: sqlite3.Connection) -> bool:
    """Copy the log into the file. Returns True if all of it is there, and no reader needs it."""
    try:
        busy, frames, copied = connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
    except sqlite3.Error:  # no space, for one; the transaction says what is wrong
        return False
    return bool(not busy and frames == copied)


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _size(path: Path) -> int:
    file = _stat(path)
    return 0 if file is None else file.st_size


def _free(path: Path) -> int:
    if not hasattr(os, "statvfs"):
        return 2**62
    try:
        disk = os.statvfs(path)
    except OSError:
        return 2**62  # the commit says what is wrong
    return disk.f_bavail * disk.f_frsize
