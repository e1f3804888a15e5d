"""The primitives on whole collections, in blocking calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import nsmallest
from itertools import chain, groupby, islice
from operator import attrgetter
from typing import Final

from kvwrap.core.paging import Snapshot
from kvwrap.core.primitives import Collection, KeyRange, Page
from kvwrap.core.ranges import matching
from kvwrap.stores.file_tree.entries import Entries
from kvwrap.stores.file_tree.folders import Folder, folder_names, remove_empty, walk
from kvwrap.stores.file_tree.locks import Locks
from kvwrap.stores.file_tree.places import DEFAULT, NAMES, Place, folder_of, place_of
from kvwrap.stores.file_tree.worker import Call

Files = Iterator[Place]
"""Files of which each call takes some, until there are none."""

MOST_NAMES: Final = 20_000
"""Number of keys that a listing has in memory. A longer one reads the folder several times."""

_FILES_PER_CALL: Final = 256


class Listing:
    """The collections of a tree, and the keys in them.

    Args:
        root: Path of the tree.
        entries: Its entries.
        durable: True to wait until what was deleted is no longer on the disk.
    """

    def __init__(self, root: str, entries: Entries, *, durable: bool) -> None:
        self._root = root
        self._entries = entries
        self._durable = durable

    def list_keys(
        self, call: Call, collection: Collection, key_range: KeyRange, cursor: object
    ) -> Page:
        """List one page of the keys of a collection, in order."""
        # The cursor is the names in memory and a position in them, or the last name of before.
        name = folder_of(collection)
        with self._entries.operation(collection), Folder(self._root, name) as folder:
            if not isinstance(cursor, Snapshot):
                keys = self._keys(folder, name, key_range)
                if isinstance(cursor, str):
                    keys = filter(cursor.__lt__, keys)
                cursor = Snapshot(_least(keys))
            page = Snapshot.page(cursor)
            listed = []
            for key in page.keys:
                call.check()
                if self._entries.holds(folder, place_of(collection, key)):
                    listed.append(key)
        if page.cursor is None and len(cursor.keys) == MOST_NAMES:
            return Page(listed, cursor.keys[-1])
        return Page(listed, page.cursor)

    def list_collections(self, call: Call) -> list[Collection]:
        """List the collections that have a live entry."""
        found: list[Collection] = []
        with self._entries.operation():
            for name in folder_names(self._root):
                with Folder(self._root, name) as folder:
                    found += self._collection(call, folder, name)
        return sorted(found, key=lambda collection: collection or "")

    def files(self, collection: Collection) -> Files:
        """Return the files of a collection, for the calls that take some of them."""
        return walk(self._root, folder_of(collection))

    def all_files(self) -> Files:
        """Return the files of the whole tree, for the calls that take some of them."""
        return walk(self._root, None)

    def count_some(self, call: Call, files: Files, key_range: KeyRange) -> int | None:
        """Count the live keys of a range among some files; None if there are none left."""
        keys: list[str] = []

        def count(folder: Folder, place: Place, locks: Locks) -> None:
            key = self._key(folder, place)
            if key is not None and key in key_range and self._entries.holds(folder, place):
                keys.append(key)

        return len(matching(keys, key_range)) if self._take(call, files, count) else None

    def drop_some(self, call: Call, files: Files, key_range: KeyRange | None = None) -> int | None:
        """Delete the entries of a range among some files, or all without a range.

        Returns how many of them were live, None if there are no files left.
        """
        dropped: list[bool] = []

        def drop(folder: Folder, place: Place, locks: Locks) -> None:
            key = None if key_range is None else self._key(folder, place)
            if key_range is None or (key is not None and matching([key], key_range)):
                dropped.append(self._entries.drop(locks, folder, place))

        return sum(dropped) if self._take(call, files, drop) else None

    def sweep_some(self, call: Call, files: Files) -> int | None:
        """Delete the expired entries among some files; None if there are none left."""

        def sweep(folder: Folder, place: Place, locks: Locks) -> None:
            if not self._entries.holds(folder, place):
                self._entries.delete_expired(locks, folder, place)

        return 0 if self._take(call, files, sweep) else None

    def _take(self, call: Call, files: Files, work: Callable[[Folder, Place, Locks], None]) -> bool:
        """Call a function for some of the files. Returns False if there are none left."""
        with self._entries.operation(), Locks(self._root, call) as locks:
            taken = list(islice(files, _FILES_PER_CALL))
            for name, places in groupby(taken, key=attrgetter("folder")):
                with Folder(self._root, name, durable=self._durable) as folder:
                    for place in places:
                        call.check()
                        work(folder, place, locks)
        return len(taken) > 0

    def remove_empty(self, call: Call, collection: Collection) -> None:
        """Remove the folder of a collection if it is empty."""
        remove_empty(self._root, folder_of(collection))

    def remove_all_empty(self, call: Call) -> None:
        """Remove all folders of collections that are empty."""
        with self._entries.operation():
            remove_empty(self._root, None)

    def _keys(self, folder: Folder, name: str, key_range: KeyRange) -> Iterator[str]:
        """Iterate over the keys of a range that have a file, in no order."""
        for file in folder.files():
            key = self._key(folder, Place(name, file))
            if key is not None and key in key_range:
                yield key

    def _key(self, folder: Folder, place: Place) -> str | None:
        """Return the key of a file; None if its name is a hash, and the file does not tell it."""
        if not NAMES.is_hashed(place.file):
            return NAMES.decode(place.file)
        head = self._entries.head(folder, place)
        key = None if head is None else head.key
        return key if key is not None and NAMES.encode(key) == place.file else None

    def _collection(self, call: Call, folder: Folder, name: str) -> list[Collection]:
        """Return the collection of a folder, if that has a live entry that tells it."""
        for file in folder.files():
            call.check()
            place = Place(name, file)
            if not self._entries.holds(folder, place):
                continue
            if name == DEFAULT:
                return [None]
            if not NAMES.is_hashed(name):
                return [NAMES.decode(name)]
            head = self._entries.head(folder, place)
            collection = None if head is None else head.collection
            if collection is not None and NAMES.encode(collection) == name:
                return [collection]
        return []


def _least(keys: Iterator[str]) -> list[str]:
    """Return the first keys in order, as many as are kept in memory."""
    first = list(islice(keys, MOST_NAMES + 1))
    if len(first) <= MOST_NAMES:
        return sorted(first)
    return nsmallest(MOST_NAMES, chain(first, keys))
