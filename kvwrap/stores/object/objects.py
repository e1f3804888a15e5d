"""Entries as objects: `prefix/collection/key.kv`, and what such an object contains.

An object is a marker of one or two bytes, the names that its path has only as a hash, and the
entry. The marker makes the size of the object even if the entry never expires, and odd if it does.
So a listing, which tells sizes and no content, needs to read only those that may have expired.
"""

from __future__ import annotations

import string
from typing import Final, NamedTuple

from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection
from kvwrap.errors import CorruptEntry
from kvwrap.stores.shared.heads import Head
from kvwrap.stores.shared.names import NameEncoding

LONGEST_PREFIX: Final = 256
"""Bytes of the prefix of a store; together with the names of a collection and a key at most 1,024,
which is the limit of S3 and of Azure."""
HEAD_BYTES: Final = 64
"""Bytes from the beginning of an object that contain the header of its entry, without names."""

_SUFFIX: Final = ".kv"
"""The end of every path, without which an object is another program's. It also keeps a name from
ending with a dot, which Azure does not take."""
_DEFAULT: Final = "_"
"""The folder of the default collection, which no collection's name has."""
_PLAIN: Final = string.ascii_letters + string.digits + "-_.:@"
_SHORT_MARKER, _LONG_MARKER = b"\x01", b"\x02\x00"


def _is_reserved(folder: str) -> bool:
    return folder == _DEFAULT or folder[:1] == "." or folder[-1:] == "."


_COLLECTIONS: Final = NameEncoding(_PLAIN, limit=320, escape="=", is_reserved=_is_reserved)
_KEYS: Final = NameEncoding(_PLAIN, limit=420, escape="=")


class Listed(NamedTuple):
    """An object of a store in a listing.

    Attributes:
        path: Its path.
        folder: The encoding of its collection.
        name: The encoding of its key.
        may_expire: False if its entry never expires.
    """

    path: str
    folder: str
    name: str
    may_expire: bool

    @property
    def is_hashed(self) -> bool:
        """True if its collection or key is known only from its content."""
        return _COLLECTIONS.is_hashed(self.folder) or _KEYS.is_hashed(self.name)

    @property
    def names(self) -> tuple[Collection, str] | None:
        """Collection and key, if they are not hashed; None if the path encodes none."""
        collection = None if self.folder == _DEFAULT else _COLLECTIONS.decode(self.folder)
        key = _KEYS.decode(self.name)
        if not key or (collection is None and self.folder != _DEFAULT):
            return None
        return collection, key


class Objects:
    """The objects of a store.

    Args:
        prefix: What their paths have in front, without a slash at the end; may be empty.
        store: Name of the store, for errors.
    """

    def __init__(self, prefix: str, store: str) -> None:
        self.root = prefix
        self._start = f"{prefix}/" if prefix else ""
        self._store = store

    def folder(self, collection: Collection) -> str:
        """Return the folder of a collection."""
        return self._start + (_DEFAULT if collection is None else _COLLECTIONS.encode(collection))

    def path(self, folder: str, key: str) -> str:
        """Return the path of a key in the folder of its collection."""
        return f"{folder}/{_KEYS.encode(key)}{_SUFFIX}"

    def paths_begin(self, folder: str, prefix: str) -> str:
        """Return what the paths of the keys with a prefix begin with."""
        encoded = _KEYS.encode(prefix) if prefix else ""
        return f"{folder}/{encoded if len(encoded) <= _KEYS.kept else ''}"

    def before(self, begin: str) -> str:
        """Return a path before all those that begin so: what they begin with, as all are longer."""
        return begin

    def probe(self, name: str) -> str:
        """Return the path of an object that is no entry."""
        return f"{self._start}kvwrap.{name}"

    def is_hashed(self, path: str) -> bool:
        """Return True if the path of a key has a hash."""
        folder, _, name = path.removeprefix(self._start).partition("/")
        return _COLLECTIONS.is_hashed(folder) or _KEYS.is_hashed(name)

    def listed(self, path: str, size: int) -> Listed | None:
        """Return an object that was listed, or None for one of another program."""
        if not path.startswith(self._start) or not path.endswith(_SUFFIX):
            return None
        folder, _, name = path.removeprefix(self._start).removesuffix(_SUFFIX).partition("/")
        found = Listed(path, folder, name, size % 2 == 1)
        if not folder or not name or "/" in name:
            return None
        return found if found.is_hashed or found.names else None

    def key_of(self, collection: Collection, names: tuple[Collection, str]) -> str | None:
        """Return the key of an object that is in a collection, else None."""
        return names[1] if names[0] == collection else None

    def pack(self, collection: Collection, key: str, entry: Entry) -> bytes:
        """Return the content of the object for an entry."""
        data = _KEYS.pack(_KEYS.encode(key), key, entry.to_bytes(collection, key))
        if collection is not None:
            data = _COLLECTIONS.pack(_COLLECTIONS.encode(collection), collection, data)
        is_odd = len(data) % 2 == 1
        marker = _SHORT_MARKER if is_odd is (entry.expires_at is None) else _LONG_MARKER
        return marker + data

    def names(self, listed: Listed, content: bytes) -> tuple[Collection, str]:
        """Return collection and key of a whole object.

        Raises:
            CorruptEntry: The object is not one of this store.
        """
        return self._parse(listed.folder, listed.name, content)[:2]

    def entry(self, collection: Collection, key: str, content: bytes) -> Entry:
        """Return the entry in the whole content of an object.

        Raises:
            CorruptEntry: The object is not one of this collection and key.
        """
        folder = _DEFAULT if collection is None else _COLLECTIONS.encode(collection)
        try:
            data = self._parse(folder, _KEYS.encode(key), content)[2]
        except CorruptEntry as error:
            error.collection, error.key = collection, key
            raise
        return Entry.from_bytes(data, collection, key, self._store)

    def head(self, path: str, content: bytes) -> Head:
        """Return the head of an entry: from the whole content if the path has a hash."""
        folder, _, name = path.removeprefix(self._start).removesuffix(_SUFFIX).partition("/")
        try:
            return Head.of(self._parse(folder, name, content)[2])
        except CorruptEntry:
            return Head()

    def _parse(self, folder: str, name: str, content: bytes) -> tuple[Collection, str, bytes]:
        collection: Collection = None
        try:
            data = _without_marker(content)
            if folder != _DEFAULT:
                collection, data = _COLLECTIONS.unpack(folder, data)
            key, data = _KEYS.unpack(name, data)
        except ValueError as error:
            raise CorruptEntry(
                "the object must be one that this store wrote; it has another form: give the "
                "store a prefix of its own",
                store=self._store,
            ) from error
        return collection, key, data


def _without_marker(content: bytes) -> bytes:
    for marker in (_SHORT_MARKER, _LONG_MARKER):
        if content.startswith(marker):
            return content[len(marker) :]
    raise ValueError("the object must begin with a marker of this store")
