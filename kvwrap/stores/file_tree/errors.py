"""Errors of the file system, as errors of the store."""

from __future__ import annotations

import errno
from types import TracebackType
from typing import Final, Self

from kvwrap.core.batch import add_succeeded
from kvwrap.core.primitives import Collection
from kvwrap.errors import (
    AccessDenied,
    CorruptEntry,
    KvwrapError,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
)
from kvwrap.stores.file_tree.folders import NotSynced, Obstructed
from kvwrap.stores.file_tree.locks import LockTimeout
from kvwrap.stores.shared.paths import missing_parent, suggest_path

_FULL: Final = {errno.ENOSPC, errno.EDQUOT}
_DENIED: Final = {errno.EACCES, errno.EPERM}
_GONE: Final = {errno.ENOENT, errno.ENOTDIR}


class Operation:
    """A call as errors tell of it. What its block raises is translated.

    Args:
        store: Name of the store.
        root: Path of the tree.
        collection: Collection of the call.
        is_batch: True if errors are to tell for which keys the call had succeeded.

    Attributes:
        key: The key in progress.
        succeeded: The keys that are done.
    """

    __slots__ = ("_collection", "_is_batch", "_root", "_store", "key", "succeeded")

    def __init__(
        self, store: str, root: str, collection: Collection = None, *, is_batch: bool = False
    ) -> None:
        self._store = store
        self._root = root
        self._collection = collection
        self._is_batch = is_batch
        self.key: str | None = None
        self.succeeded: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not isinstance(error, OSError | Obstructed | NotSynced | LockTimeout | KvwrapError):
            return
        if isinstance(error, NotSynced):
            self.key = None
            self.succeeded.clear()
        translated = error if isinstance(error, KvwrapError) else self._translate(error)
        if self._is_batch:
            add_succeeded(translated, self.succeeded, self.succeeded)
        if translated is not error:
            raise translated from error

    def _translate(self, error: Exception) -> KvwrapError:
        cls, message = self._describe(error)
        return cls(message, store=self._store, collection=self._collection, key=self.key)

    def _describe(self, error: Exception) -> tuple[type[KvwrapError], str]:
        if isinstance(error, Obstructed):
            return CorruptEntry, (
                f"there must be {error.what}; there is a link or something else, which is neither "
                "followed nor replaced: move it away"
            )
        if isinstance(error, LockTimeout):
            return StoreTimeout, (
                f"the lock of a file in {self._root!r} must be free within the timeout; another "
                "process or store held it longer: give the store a longer timeout, or end a "
                "process that hangs"
            )
        cause = error.__cause__ if isinstance(error, NotSynced) else error
        code = getattr(cause, "errno", 0)
        name = errno.errorcode.get(code, type(cause).__name__)
        if code in _FULL:
            return StoreFull, (
                f"the disk of the folder {self._root!r} has no space left, or a quota is reached "
                f"({name}): free some space"
            )
        if code == errno.EFBIG:
            return ValueTooLarge, (
                "an entry must fit into a file of the size that the system allows; this one is "
                f"larger ({name}). It was not written"
            )
        if code in _DENIED:
            hint = suggest_path(self._root, "file-tree")
            return AccessDenied, (
                f"this process must be permitted to use the files in {self._root!r}; the system "
                f"refused ({name}): change their permissions, or the user of the process{hint}"
            )
        if code in _GONE:
            return StoreUnavailable, missing_parent("the folder", self._root, "file-tree") or (
                f"{self._root!r} must be a folder; it is missing, or something else ({name}): "
                "create it, or give the store another folder"
            )
        return StoreUnavailable, (
            f"the system cannot use the folder {self._root!r} ({name}): check its disk"
        )
