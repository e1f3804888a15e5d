"""Objects of other programs as entries: the path is the name, and the content is the value."""

from __future__ import annotations

from typing import Final

from kvwrap.core.clock import Clock
from kvwrap.core.codec import is_bare
from kvwrap.core.entry import Entry, foreign, is_entry
from kvwrap.core.primitives import Collection
from kvwrap.errors import InvalidKey
from kvwrap.stores.object.objects import Listed, Objects
from kvwrap.stores.shared.heads import Head

_LONGEST_PATH: Final = 1024
"""Bytes of a path that S3 and Azure take."""
_FIRST_PRINTABLE: Final = " "
_DELETE: Final = "\x7f"


class RawListed(Listed):
    """An object in a listing, whose key in the default collection is its path."""

    @property
    def is_hashed(self) -> bool:
        return False

    @property
    def names(self) -> tuple[Collection, str]:
        return None, self.name


class RawObjects(Objects):
    """The objects below a prefix, also those of other programs, beside entries of kvwrap.

    The key of an object is its path below the prefix; in a collection, its path below the folder
    of that name. A value that no layer changed, and that never expires, is the content. What
    layers have changed, or what expires, is written with the header of an entry.

    Args:
        prefix: As for `Objects`.
        store: As for `Objects`.
        clock: Source of the time.
    """

    def __init__(self, prefix: str, store: str, clock: Clock) -> None:
        super().__init__(prefix, store)
        self._clock = clock

    def folder(self, collection: Collection) -> str:
        return self.root if collection is None else self._checked(f"{self._start}{collection}")

    def path(self, folder: str, key: str) -> str:
        return self._checked(f"{folder}/{key}" if folder else key)

    def _checked(self, path: str) -> str:
        is_plain = all(_FIRST_PRINTABLE <= each != _DELETE for each in path)
        if (
            not is_plain
            or not {"", ".", ".."}.isdisjoint(path.split("/"))
            or len(path.encode()) > _LONGEST_PATH
        ):
            raise InvalidKey(
                "with raw=True, collection and key must be the path of an object: at most "
                f"{_LONGEST_PATH} bytes, without control characters, without empty parts, and "
                f"without the parts . and ..; got {path.removeprefix(self._start)!r}",
                store=self._store,
            )
        return path

    def paths_begin(self, folder: str, prefix: str) -> str:
        return f"{folder}/{prefix}" if folder else prefix

    def before(self, begin: str) -> str:
        return begin[:-1]

    def is_hashed(self, path: str) -> bool:
        return True  # the version of another program's value is made of the whole content

    def listed(self, path: str, size: int) -> Listed | None:
        name = path.removeprefix(self._start)
        return RawListed(path, "", name, may_expire=True) if path.startswith(self._start) else None

    def key_of(self, collection: Collection, names: tuple[Collection, str]) -> str | None:
        key = names[1]
        start = "" if collection is None else f"{collection}/"
        return key.removeprefix(start) if key.startswith(start) else None

    def pack(self, collection: Collection, key: str, entry: Entry) -> bytes:
        # Bare bytes that begin like an entry would be read as one.
        if entry.expires_at is None and is_bare(entry.codec) and not is_entry(entry.body):
            return entry.body
        return entry.to_bytes(collection, key)

    def entry(self, collection: Collection, key: str, content: bytes) -> Entry:
        if is_entry(content):
            return Entry.from_bytes(content, collection, key, self._store)
        return self._foreign(self.path(self.folder(collection), key), content)

    def head(self, path: str, content: bytes) -> Head:
        if is_entry(content):
            return Head.of(content)
        return Head(self._foreign(path, content).version)

    def _foreign(self, path: str, content: bytes) -> Entry:
        return foreign(content, None, path, self._clock.time(), None)
