"""Values that are decoded once, and shared by all that read them."""

from __future__ import annotations

import hashlib
from typing import Any

from kvwrap.core.entry import Entry
from kvwrap.core.serializer import ValueCodec
from kvwrap.errors import KvwrapError, SharedValueChanged


class SharedEntry(Entry, frozen=True, gc=False):
    """An entry whose value is decoded once. A layer makes it of another with `share`."""

    shared: SharedValue


def share(entry: Entry, *, checked: bool) -> SharedEntry:
    """Return the entry with a value that all who read it share.

    Args:
        entry: The entry as it was read.
        checked: True to find out at every read whether one of them has changed the value.
    """
    return SharedEntry(
        entry.body,
        entry.codec,
        entry.created_at,
        entry.expires_at,
        entry.version,
        SharedValue(checked),
    )


def share_with(entry: Entry, other: Entry) -> Entry:
    """Return the entry with the value that another one shares, if it shares one.

    Args:
        entry: An entry with the value of the other one, without what layers have put before it.
        other: The entry as it was read.
    """
    if type(other) is not SharedEntry:
        return entry
    return SharedEntry(
        entry.body, entry.codec, entry.created_at, entry.expires_at, entry.version, other.shared
    )


class SharedValue:
    """The decoded value of a `SharedEntry`, from its first read on."""

    __slots__ = ("_checked", "_digest", "_is_decoded", "_value")

    def __init__(self, checked: bool) -> None:
        self._checked = checked
        self._is_decoded = False
        self._value: Any = None
        self._digest: bytes | None = None

    def get(self, entry: Entry, values: ValueCodec) -> Any:
        """Return the value of the entry.

        Raises:
            CorruptEntry: The entry cannot be decoded.
            SharedValueChanged: The value is checked, and was changed since it was decoded.
        """
        if not self._is_decoded:
            self._value = values.loads(entry.body, entry.codec)
            self._is_decoded = True
            if self._checked:
                self._digest = _digest(self._value, values)
        elif self._checked and _digest(self._value, values) != self._digest:
            raise SharedValueChanged(
                "a value that read_through(decoded=True) shares must not be changed by those who "
                "read it; one has changed it: copy a value before you change it, or leave "
                "`decoded` out"
            )
        return self._value


def _digest(value: Any, values: ValueCodec) -> bytes | None:
    """Return a digest of the value as it is encoded; None if it cannot be encoded."""
    try:
        body = values.serializer.dumps(value)
    except KvwrapError:
        return None
    return hashlib.blake2b(body, digest_size=16).digest()
