"""The rows of a journal: a change as SQLite keeps it, and back."""

from __future__ import annotations

import zlib

from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection
from kvwrap.errors import CorruptEntry
from kvwrap.layers.shared.journal.change import Change

Row = tuple[int, str, str, bytes]
"""Number, collection ("" for the default one), key, and the entry or the mark of a removal."""

_REMOVAL = b"\x00"
LAST_NUMBER = 2**62
"""No sequence number reaches it, so one that does is damaged."""


def encode_row(change: Change) -> Row:
    """Return the row of a change. Its bytes have a checksum that covers collection and key."""
    entry, collection, key = change.entry, change.collection, change.key
    data = _removal(collection, key) if entry is None else entry.to_bytes(collection, key)
    return change.number, collection or "", key, data


def decode_row(row: tuple[object, ...], owner: str) -> Change:
    """Return the change of a row that was read with texts as bytes.

    Raises:
        CorruptEntry: The row is not one that `encode_row` returned.
    """
    number, name, key, data = row
    if not (isinstance(number, int) and 0 < number < LAST_NUMBER):
        raise CorruptEntry("a number in the journal must be a positive integer", store=owner)
    if not (isinstance(name, bytes) and isinstance(key, bytes) and isinstance(data, bytes)):
        raise CorruptEntry("a change in the journal must consist of texts and bytes", store=owner)
    try:
        names = name.decode() or None, key.decode()
    except UnicodeDecodeError as error:
        raise CorruptEntry("a name in the journal must be UTF-8", store=owner) from error
    if data[:1] != _REMOVAL:
        return Change(number, *names, Entry.from_bytes(data, *names, owner))
    if data != _removal(*names):
        raise CorruptEntry("a removal in the journal must have its checksum", store=owner)
    return Change(number, *names, None)


def shown_name(value: object) -> str:
    """Return a name of a row, or what can be shown of it if it is damaged."""
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _removal(collection: Collection, key: str) -> bytes:
    names = (collection or "").encode() + b"\x00" + key.encode()
    return _REMOVAL + zlib.crc32(names).to_bytes(4, "big")
