"""The driver, and its errors as those of kvwrap."""

from __future__ import annotations

import errno
import os
from typing import Any, Final

from kvwrap.core.optional import need
from kvwrap.errors import KvwrapError, StoreFull, StoreUnavailable, ValueTooLarge
from kvwrap.stores.shared.paths import missing_parent, suggest_path

NO_SPACE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Errors of a disk, a user or a process that may not write more; the last is its own limit."""
_NO_BYTES: Final = 1 << 20
"""A disk with less is full; a file system may keep some for itself."""
_NO_PERMISSION: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_GONE: Final = frozenset({errno.ENOENT, errno.ENOTDIR})


def driver() -> Any:
    """Return the module `lmdb`.

    Raises:
        ConfigurationError: It is not installed.
    """
    return need("lmdb", extra="lmdb", wanted_by="LMDBStore")


class OutOfSpace(Exception):
    """An environment has no room for this transaction, which must be aborted."""


def translate_error(error: Exception, folder: str, *, store: str) -> KvwrapError:
    """Return the error to raise for one of the driver, which is to be its cause."""
    lmdb = driver()
    name = type(error).__name__
    code = getattr(error, "code", 0) or getattr(error, "errno", 0)
    is_full = isinstance(error, OutOfSpace | lmdb.MapFullError | lmdb.DiskError)
    # A disk that took a part of a transaction makes LMDB report an error of input and output.
    if is_full or code in NO_SPACE or (code == errno.EIO and _free_bytes(folder) < _NO_BYTES):
        return StoreFull(
            f"the LMDB environment in {folder!r} has no space for this write ({name}): delete "
            "entries, give it a larger max_bytes, or free some space on the disk",
            store=store,
        )
    if isinstance(error, lmdb.BadValsizeError):
        return ValueTooLarge(
            "an entry must be smaller than 4 GiB, the limit of LMDB; got a larger one. Nothing was "
            "written",
            store=store,
        )
    if isinstance(error, lmdb.ReadersFullError):
        return StoreUnavailable(
            f"the LMDB environment in {folder!r} has as many readers at the moment as its lock "
            f"file has slots ({name}): use fewer processes",
            store=store,
        )
    if isinstance(error, lmdb.ReadonlyError) or code in _NO_PERMISSION:
        return StoreUnavailable(
            f"the LMDB environment in {folder!r} must be readable and writable for this process; "
            f"it is not ({name}). Change its permissions, or open the store with "
            f"read_only=True{suggest_path(folder, 'lmdb')}",
            store=store,
        )
    if code in _GONE:
        message = missing_parent("the folder", folder, "lmdb") or (
            f"{folder!r} must be a folder with an LMDB environment; that is missing, or something "
            f"else ({name}): give the store another folder, or open it without read_only=True"
        )
        return StoreUnavailable(message, store=store)
    if isinstance(error, _damage(lmdb)):
        return StoreUnavailable(
            f"the files in {folder!r} must be an LMDB environment; they are of another format, or "
            f"damaged ({name}). Give the store another folder, or restore these files",
            store=store,
        )
    return StoreUnavailable(
        f"LMDB cannot use the folder {folder!r} ({name}): check its permissions and its disk, and "
        "that nothing else in this process has opened it",
        store=store,
    )


def _damage(lmdb: Any) -> tuple[type[Exception], ...]:
    return (
        lmdb.CorruptedError,
        lmdb.InvalidError,
        lmdb.PageNotFoundError,
        lmdb.PanicError,
        lmdb.VersionMismatchError,
    )


def _free_bytes(folder: str) -> int:
    try:
        status = os.statvfs(folder)
    except OSError:
        return _NO_BYTES
    return status.f_bavail * status.f_frsize
