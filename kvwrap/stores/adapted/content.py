"""What is in an object: entries of kvwrap, and values of other programs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry, foreign, has_expired, is_entry, live
from kvwrap.core.primitives import Collection
from kvwrap.errors import CorruptEntry
from kvwrap.stores.adapted.adapter import Adapter
from kvwrap.stores.adapted.undecodable import Undecodable
from kvwrap.stores.shared.flat_names import format_name

_LONGEST_TTL: Final = 10 * 365 * 86400
"""Seconds over which the object is told to keep an entry for good. The entry knows its end."""


class Content:
    """Converts between entries, and the names and values of an object.

    Args:
        adapter: How the object is called.
        raw: True if values of other programs are entries.
        clock: Source of the time.
        store: Name of the store, for errors.

    Attributes:
        names: Encodes flat names for the object; None if it takes them as they are.
    """

    def __init__(self, adapter: Adapter, *, raw: bool, clock: Clock, store: str) -> None:
        self.names = None if raw else adapter.names
        self._adapter = adapter
        self._form = adapter.form
        self._raw = raw
        self._clock = clock
        self._store = store

    def name(self, collection: Collection, key: str) -> str:
        """Return the name of a key in the object."""
        name = format_name(collection, key)
        return name if self.names is None else self.names.encode(name)

    def own(self, name: str, value: Any) -> tuple[str, bytes] | None:
        """Return the flat name and the bytes of an entry, or None for another's value."""
        data = self._form.decode(value)
        if data is None:
            return None
        if self.names is not None:
            try:
                name, data = self.names.unpack(name, data)
            except ValueError:
                return None
        return (name, data) if is_entry(data) else None

    def parse(
        self, value: Any, collection: Collection, key: str, seconds: float | None = None
    ) -> Entry | None:
        """Return the entry that a value is, or None if it has expired.

        Args:
            value: The value in the object.
            collection: The entry's collection.
            key: Its key.
            seconds: For how long the object keeps it, if that is known.

        Raises:
            CorruptEntry: It is a damaged entry, or the value of another program.
        """
        own = self.own(self.name(collection, key), value)
        if own is None:
            entry = self._foreign(value, seconds, collection, key)
        else:
            entry = Entry.from_bytes(own[1], collection, key, self._store)
        return live(entry, self._clock.time())

    def is_live(self, value: Any, collection: Collection, key: str) -> bool:
        """Return True for an entry that has not expired, damaged or not; False for no value.

        Raises:
            CorruptEntry: It is the value of another program.
        """
        if value is None:
            return False
        own = self.own(self.name(collection, key), value)
        if own is None:
            self._foreign(value, None, collection, key)
            return True
        return not has_expired(own[1], self._clock.time())

    def state(self, value: Any, collection: Collection, key: str) -> bool | None:
        """Return whether an entry is live, or None for another's value.

        With `raw`, one that cannot be decoded counts as live, so that reading it tells of it.
        """
        if self._raw and isinstance(value, Undecodable):
            return True
        try:
            return self.is_live(value, collection, key)
        except CorruptEntry:
            return None

    def encode(self, entry: Entry, collection: Collection, key: str) -> tuple[Any, int | None]:
        """Return what to put into the object, and for how many seconds, None for good."""
        ttl = None
        if self._adapter.has_ttl and entry.expires_at is not None:
            seconds = max(1, math.ceil(entry.expires_at - self._clock.time()))
            ttl = seconds if seconds <= _LONGEST_TTL else None
        name = self.name(collection, key)
        if self._raw and (entry.expires_at is None or self._adapter.has_ttl):
            native = self._form.to_native(entry)
            if native is not None and self.own(name, native) is None:
                return native, ttl
        data = entry.to_bytes(collection, key)
        if self.names is not None:
            data = self.names.pack(name, format_name(collection, key), data)
        return self._form.encode(data), ttl

    def _foreign(
        self, value: Any, seconds: float | None, collection: Collection, key: str
    ) -> Entry:
        if isinstance(value, Undecodable):
            raise CorruptEntry(
                f"the {self._adapter.kind} has a value under this key that its own library cannot "
                f"decode ({value.reason}): repair or remove it there",
                store=self._store,
                collection=collection,
                key=key,
            )
        native = self._form.from_native(value) if self._raw else None
        if native is None:
            advice = (
                "which is of a type that cannot be read"
                if self._raw
                else "which must not be replaced: with raw=True such values can be used"
            )
            raise CorruptEntry(
                f"the {self._adapter.kind} has a value of another program under this key, a "
                f"{type(value).__name__}, {advice}",
                store=self._store,
                collection=collection,
                key=key,
            )
        body, steps = native
        now = self._clock.time()
        expires_at = None if seconds is None else now + seconds
        return foreign(body, collection, key, now, expires_at, steps)


def by_collection(
    pairs: Sequence[tuple[Collection, str]],
) -> list[tuple[Collection, list[str]]]:
    """Return the keys of each collection, given collections and keys in any order."""
    keys: dict[Collection, list[str]] = {}
    for collection, key in pairs:
        keys.setdefault(collection, []).append(key)
    return list(keys.items())
