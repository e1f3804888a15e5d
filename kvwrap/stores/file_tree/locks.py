"""Locks of files, which end with their process, and unfinished files, written under the locks."""

from __future__ import annotations

import fcntl
import os
import random
import re
import time
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from kvwrap.stores.file_tree.places import CONTROL, Place
from kvwrap.stores.file_tree.worker import Call

_PAUSE: Final = 0.002
"""Seconds between two attempts to lock."""

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LOCK: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OWN_FILE: Final = re.compile(r"([0-9a-f]{2})(\.lock|-[0-9a-f]{12}\.tmp)")


class LockTimeout(Exception):
    """Other processes or stores held a lock until the deadline of the call."""


class Locks:
    """The locks of a tree, for a call that takes one after another.

    They are files in a hidden folder, which the system locks (`flock`). It ends a lock when its
    process ends, however that happens. What a file of the tree will contain is written into the
    hidden folder first, by the owner of its lock. So the owner of a lock knows that the unfinished
    files of others under it have been left behind.

    Args:
        root: Path of the tree.
        call: The call.

    Attributes:
        folder: Descriptor of the hidden folder, while a lock is held.
    """

    def __init__(self, root: str, call: Call) -> None:
        self._path = f"{root}/{CONTROL}"
        self._call = call
        self._opened: dict[int, int] = {}
        self._held = -1
        self.folder = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._close()

    def acquire(self, stripe: int) -> None:
        """Take a lock, after the one before was released.

        Raises:
            LockTimeout: Others held it for as long as the call may wait.
            Interrupted: The call was cancelled meanwhile.
            OSError: The lock cannot be made; FileNotFoundError if there is no tree.
        """
        name = _lock_name(stripe)
        while True:
            if self.folder < 0:
                self.folder = self._open()
            with suppress(FileNotFoundError):  # what has been opened was removed meanwhile
                lock = self._opened.get(stripe)
                if lock is None:
                    lock = os.open(name, _LOCK, 0o600, dir_fd=self.folder)
                    self._opened[stripe] = lock
                _wait(lock, self._call)
                self._held = lock
                # A sweep removes locks. The one of this name may be another one by now.
                found = os.stat(name, dir_fd=self.folder, follow_symlinks=False)
                if os.path.samestat(os.fstat(lock), found):
                    return
            self._close()

    def release(self) -> None:
        """Give the lock back."""
        fcntl.flock(self._held, fcntl.LOCK_UN)

    def clean(self) -> None:
        """Remove unfinished files that were left behind, and the files of the locks."""
        try:
            with os.scandir(self._path) as files:
                names = [file.name for file in files]
        except FileNotFoundError:
            return
        own = [match for name in names if (match := _OWN_FILE.fullmatch(name))]
        for stripe in sorted({int(match[1], 16) for match in own}):
            self.acquire(stripe)
            try:
                left = {match.group() for match in own if int(match[1], 16) == stripe}
                for name in left | {_lock_name(stripe)}:
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=self.folder)
            finally:
                self.release()

    def _open(self) -> int:
        """Open the hidden folder, which is made if it is missing."""
        with suppress(FileNotFoundError):
            return os.open(self._path, _FOLDER)
        with suppress(FileExistsError):
            Path(self._path).mkdir(0o700)
        return os.open(self._path, _FOLDER)

    def _close(self) -> None:
        for descriptor in (*self._opened.values(), self.folder):
            if descriptor >= 0:
                os.close(descriptor)
        self._opened.clear()
        self.folder = -1


def replace_file(data: bytes, place: Place, control: int, folder: int, *, durable: bool) -> None:
    """Give a file this content, in one step for all who read it. Its lock must be held.

    Args:
        data: The content.
        place: The file.
        control: Descriptor of the hidden folder, which the content is written in first.
        folder: Descriptor of the file's folder.
        durable: True to wait until the content is on the disk. The name is there after
            `sync` of the folder.

    Raises:
        FileNotFoundError: One of the folders has been removed.
    """
    unfinished = f"{place.stripe:02x}-{os.urandom(6).hex()}.tmp"
    file = os.open(unfinished, _NEW, 0o600, dir_fd=control)
    try:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(file, rest) :]
            if durable:
                sync(file)
        finally:
            os.close(file)
        os.rename(unfinished, place.file, src_dir_fd=control, dst_dir_fd=folder)
    except BaseException:
        with suppress(OSError):
            os.unlink(unfinished, dir_fd=control)
        raise


def sync(descriptor: int) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS, where fsync ends at the disk's cache
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def _lock_name(stripe: int) -> str:
    return f"{stripe:02x}.lock"


def _wait(lock: int, call: Call) -> None:
    """Lock a file, unless others do for as long as the call may wait."""
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            call.check()
            if call.left <= 0:
                raise LockTimeout from None
            pause = _PAUSE * (0.5 + random.random())
            time.sleep(pause)
            call.left -= pause
        else:
            return
