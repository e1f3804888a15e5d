"""The primitives on single entries, in blocking calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple, TypeVar

from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry, live
from kvwrap.core.primitives import ABSENT, Collection, Expected
from kvwrap.core.randomness import new_version
from kvwrap.errors import CorruptEntry
from kvwrap.stores.file_tree.errors import Operation
from kvwrap.stores.file_tree.expiries import Expiries
from kvwrap.stores.file_tree.folders import Folder, Obstructed, make_folder
from kvwrap.stores.file_tree.form import FileForm, Head, has_head
from kvwrap.stores.file_tree.locks import Locks, LockTimeout, replace_file
from kvwrap.stores.file_tree.places import NAMES, Place, folder_of, place_of
from kvwrap.stores.file_tree.worker import Call, Interrupted

T = TypeVar("T")

_HEAD_SIZE: Final = 4096
"""Bytes that are read for the head of a file; the few heads that are longer take a second read."""

_START_SIZE: Final = 16
"""Bytes that are read to tell an entry from a file of another program."""

_EXPIRED_PER_WRITE: Final = 2
"""Number of expired files that a write deletes for each of its keys."""

_ATTEMPTS: Final = 100
"""How often a change is tried whose folder was removed; after that, it is not the folder."""


class Target(NamedTuple):
    """A key that is read or changed, and its file.

    Attributes:
        folder: The open folder of the collection.
        collection: The collection.
        key: The key.
        place: The folder's name, and the file's.
    """

    folder: Folder
    collection: Collection
    key: str
    place: Place


class Entries:
    """The entries of a tree.

    Args:
        root: Path of the tree.
        form: The form of its files.
        durable: True to wait until what was written or deleted is on the disk.
        clock: Source of the time.
        store: Name of the store, for errors.
    """

    def __init__(
        self, root: str, form: FileForm, *, durable: bool, clock: Clock, store: str
    ) -> None:
        self._root = root
        self._form = form
        self._durable = durable
        self._clock = clock
        self._store = store
        self._expiries = Expiries()

    def operation(self, collection: Collection = None, keys: Sequence[str] = ()) -> Operation:
        """Return a call on these keys, as errors are to tell of it."""
        return Operation(self._store, self._root, collection, is_batch=len(keys) > 1)

    def open(self, call: Call, *, create: bool) -> None:
        """Check that the tree is there, or create it."""
        with self.operation():
            if create:
                make_folder(self._root, durable=self._durable)
            os.close(os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def clean(self, call: Call) -> None:
        """Remove what killed processes have left behind."""
        with self.operation(), Locks(self._root, call) as locks:
            locks.clean()

    # -- reading -----------------------------------------------------------------------

    def read(self, call: Call, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        """Read the entries of these keys. The result has None for a missing or expired entry."""
        entries: list[Entry | None] = []
        name = folder_of(collection)
        with self.operation(collection) as operation, Folder(self._root, name) as folder:
            for key in keys:
                call.check()
                operation.key = key
                place = Place(name, NAMES.encode(key))
                entries.append(self._find(Target(folder, collection, key, place)))
        now = self._clock.time()
        for index, entry in enumerate(entries):
            if live(entry, now) is not entry:
                entries[index] = None
                self._expiries.see(place_of(collection, keys[index]))
        return entries

    def _find(self, target: Target) -> Entry | None:
        """Read the entry of a key, an expired one too."""
        folder, collection, key, place = target
        data = folder.read(place.file)
        if data is None:
            return None
        return self._form.from_bytes(data, collection, key, place, self._clock.time())

    def head(self, folder: Folder, place: Place) -> Head | None:
        """Return the head of a file, if there is a file and it has one."""
        looked = self._look(folder, place)
        return None if looked is None else looked[1]

    def holds(self, folder: Folder, place: Place) -> bool:
        """Return True if a file is there, and is a live entry."""
        looked = self._look(folder, place)
        if looked is None or not self._form.is_own(looked[0]):
            return False
        if self._has_expired(looked[1]):
            self._expiries.see(place)
            return False
        return True

    def _look(self, folder: Folder, place: Place) -> tuple[bytes, Head | None] | None:
        """Return the beginning of a file, and its head if it has one; None if there is no file."""
        start = folder.read(place.file, _HEAD_SIZE)
        if start is None:
            return None
        if len(start) == _HEAD_SIZE and has_head(start) and b"\n" not in start:
            start = folder.read(place.file) or b""
        return start, self._form.head_of(start)

    # -- writing -----------------------------------------------------------------------

    def write(
        self,
        call: Call,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        """Write entries, each only if there is what is expected. Returns which were written.

        An entry that is stored already, with the same version, counts as written.
        """
        versions = [None] * len(keys) if expected is None else expected
        return self._change(call, collection, keys, self._write, entries, versions, create=True)

    def remove(
        self,
        call: Call,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None,
    ) -> list[bool]:
        """Remove entries, each only if it has the expected version.

        Returns which were live and were removed.
        """
        versions = [None] * len(keys) if expected is None else expected
        return self._change(call, collection, keys, self._remove, versions)

    def touch(
        self,
        call: Call,
        collection: Collection,
        keys: Sequence[str],
        expires: Sequence[float | None],
    ) -> list[bool]:
        """Set new expiry times (Unix seconds, None for no expiry). Returns which keys existed."""
        return self._change(call, collection, keys, self._touch, expires)

    def _change(
        self,
        call: Call,
        collection: Collection,
        keys: Sequence[str],
        change: Callable[..., bool],
        *arguments: Sequence[Any],
        create: bool = False,
    ) -> list[bool]:
        """Return the results of a change of single keys, each called with its arguments."""
        results = []
        with (
            self.operation(collection, keys) as operation,
            Folder(
                self._root, folder_of(collection), create=create, durable=self._durable
            ) as folder,
            Locks(self._root, call) as locks,
        ):
            for key, *values in zip(keys, *arguments):
                call.check()
                operation.key = key
                place = place_of(collection, key)
                target = Target(folder, collection, key, place)
                results.append(self._locked(locks, target, change, *values))
                operation.succeeded.append(key)
        self._free_expired(_EXPIRED_PER_WRITE * len(keys))
        return results

    @staticmethod
    def _locked(locks: Locks, target: Target, change: Callable[..., T], *values: object) -> T:
        """Return the result of a change that is made under the lock of its file."""
        locks.acquire(target.place.stripe)
        try:
            for _ in range(_ATTEMPTS):
                with suppress(FileNotFoundError):  # the folder was removed meanwhile
                    return change(locks.folder, target, *values)
                target.folder.reopen()
            return change(locks.folder, target, *values)
        finally:
            locks.release()

    def _write(self, control: int, target: Target, entry: Entry, version: Expected) -> bool:
        if version is None:
            self._check_replaceable(target, target.folder.read(target.place.file, _START_SIZE))
        else:
            current = live(self._find(target), self._clock.time())
            found = ABSENT if current is None else current.version
            if found != version:
                return found == entry.version
        self._replace(control, target, entry)
        return True

    def _remove(self, control: int, target: Target, version: Expected) -> bool:
        if version is None:
            looked = self._look(target.folder, target.place)
            if looked is None:
                return False
            start, head = looked
            self._check_replaceable(target, start)
            was_live = not self._has_expired(head)
        else:
            current = live(self._find(target), self._clock.time())
            if current is None or current.version != version:
                return False
            was_live = True
        target.folder.delete(target.place.file)
        return was_live

    def _touch(self, control: int, target: Target, expires_at: float | None) -> bool:
        current = live(self._find(target), self._clock.time())
        if current is None:
            return False
        self._replace(control, target, current.with_expiry(expires_at, new_version()))
        return True

    def _replace(self, control: int, target: Target, entry: Entry) -> None:
        folder, collection, key, place = target
        assert folder.descriptor is not None, "a folder that is written to has been opened"
        replace_file(
            self._form.to_bytes(entry, collection, key, place),
            place,
            control,
            folder.descriptor,
            durable=self._durable,
        )
        folder.is_changed = True
        self._expiries.add(entry.expires_at, place)

    def _check_replaceable(self, target: Target, start: bytes | None) -> None:
        """Raise CorruptEntry for a file of another program, which is not replaced or deleted."""
        if start is not None and not self._form.is_replaceable(start):
            raise CorruptEntry(
                "the file of this key is not one that kvwrap wrote, and is neither replaced nor "
                "deleted: move it away, or open the store with raw=True",
                store=self._store,
                collection=target.collection,
                key=target.key,
            )

    # -- files of any key --------------------------------------------------------------

    def drop(self, locks: Locks, folder: Folder, place: Place) -> bool:
        """Delete a file, unless it is another program's. Returns True if it was a live entry."""
        locks.acquire(place.stripe)
        try:
            looked = self._look(folder, place)
            if looked is None or not self._form.is_own(looked[0]):
                return False
            folder.delete(place.file)
            return not self._has_expired(looked[1])
        finally:
            locks.release()

    def delete_expired(self, locks: Locks, folder: Folder, place: Place) -> None:
        """Delete a file if it has expired."""
        locks.acquire(place.stripe)
        try:
            if self._has_expired(self.head(folder, place)):
                folder.delete(place.file)
        finally:
            locks.release()

    def _has_expired(self, head: Head | None) -> bool:
        expires_at = None if head is None else head.expires_at
        return expires_at is not None and expires_at <= self._clock.time()

    def _free_expired(self, count: int) -> None:
        """Delete some files that have probably expired, without waiting for anyone."""
        for place in self._expiries.take(self._clock.time(), count):
            with (
                suppress(OSError, Obstructed, LockTimeout, Interrupted),
                Folder(self._root, place.folder) as folder,
                Locks(self._root, Call(0)) as locks,
            ):
                self.delete_expired(locks, folder, place)
