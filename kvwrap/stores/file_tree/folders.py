"""The folders of a tree, and the files in them, in blocking calls that follow no link."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from kvwrap.stores.file_tree.locks import sync
from kvwrap.stores.file_tree.places import Place, is_file_name, is_folder_name

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Opening a pipe must not wait for a writer.
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_A_FILE: Final = {errno.ELOOP, errno.ENXIO}
_NOT_A_FOLDER: Final = {errno.ELOOP, errno.ENOTDIR}


class Obstructed(Exception):
    """Something else is in the place of a folder or a file: a link, a pipe, a device, …

    Args:
        what: What must be there.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class NotSynced(Exception):
    """Names in a folder may not be on the disk; the cause is the system's error."""


class Folder:
    """The folder of a collection, opened for a call.

    Args:
        root: Path of the tree.
        name: Name of the folder.
        create: True to make the folder if it is missing.
        durable: True to bring the names in the folder to the disk at the end, if `is_changed`.

    Attributes:
        descriptor: The open folder; None if it does not exist.
        is_changed: True if names in the folder have been changed.
    """

    def __init__(
        self, root: str, name: str, *, create: bool = False, durable: bool = False
    ) -> None:
        self._root = root
        self._path = f"{root}/{name}"
        self._create = create
        self._durable = durable
        self.descriptor: int | None = None
        self.is_changed = False

    def __enter__(self) -> Self:
        self.reopen()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._close()

    def reopen(self) -> None:
        """Open the folder that has the name now."""
        self._close()
        self.descriptor = self._open()
        while self.descriptor is None and self._create:
            make_folder(self._path, durable=self._durable)
            self.descriptor = self._open()

    def _open(self) -> int | None:
        try:
            return os.open(self._path, _FOLDER)
        except OSError as error:
            # An error, if there is no tree.
            if not stat.S_ISDIR(Path(self._root).stat().st_mode):
                raise
            if isinstance(error, FileNotFoundError):
                return None
            if error.errno in _NOT_A_FOLDER:
                raise Obstructed("a folder in the place of the collection") from error
            raise

    def _close(self) -> None:
        descriptor, self.descriptor = self.descriptor, None
        if descriptor is None:
            return
        try:
            if self.is_changed and self._durable:
                sync(descriptor)
        except OSError as error:
            raise NotSynced from error
        finally:
            self.is_changed = False
            os.close(descriptor)

    def read(self, name: str, size: int | None = None) -> bytes | None:
        """Return the content of a file, up to this size; None if there is no file.

        Raises:
            Obstructed: It is not a file.
        """
        if self.descriptor is None:
            return None
        try:
            file = os.open(name, _FILE, dir_fd=self.descriptor)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in _NOT_A_FILE:
                raise Obstructed("a file in the place of the key") from error
            raise
        try:
            info = os.fstat(file)
            if not stat.S_ISREG(info.st_mode):
                raise Obstructed("a file in the place of the key")
            left = info.st_size if size is None else min(size, info.st_size)
            data = os.read(file, left)
            # One read returns at most 2 GB.
            while len(data) < left and (more := os.read(file, left - len(data))):
                data += more
            return data
        finally:
            os.close(file)

    def delete(self, name: str) -> None:
        """Delete a file, if it is still there."""
        if self.descriptor is not None:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=self.descriptor)
                self.is_changed = True

    def files(self) -> Iterator[str]:
        """Iterate over the names of files that keys may have, in no order."""
        if self.descriptor is None:
            return
        with os.scandir(self.descriptor) as files:
            for file in files:
                if file.is_file(follow_symlinks=False) and is_file_name(file.name):
                    yield file.name


def make_folder(path: str, *, durable: bool) -> None:
    """Make a folder for this user alone, if it is missing.

    Args:
        path: Path of the folder, in an existing one.
        durable: True to wait until the name of the folder is on the disk.
    """
    try:
        Path(path).mkdir(0o700)
    except FileExistsError:
        return
    if durable:
        parent = os.open(Path(path).parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            sync(parent)
        finally:
            os.close(parent)


def folder_names(root: str) -> Iterator[str]:
    """Iterate over the names of folders that collections may have, in no order."""
    with os.scandir(root) as folders:
        for folder in folders:
            if is_folder_name(folder.name) and folder.is_dir(follow_symlinks=False):
                yield folder.name


def walk(root: str, folder: str | None) -> Iterator[Place]:
    """Iterate over the files of a folder, or of the whole tree."""
    for name in folder_names(root) if folder is None else [folder]:
        with Folder(root, name) as opened:
            for file in opened.files():
                yield Place(name, file)


def remove_empty(root: str, folder: str | None) -> None:
    """Remove a folder, or all folders of the tree, if they are empty."""
    for name in list(folder_names(root)) if folder is None else [folder]:
        with suppress(OSError):  # other programs' files, or an entry written just now
            Path(root, name).rmdir()
