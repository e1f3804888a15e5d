"""Forms: what the bytes of an entry become in an object that may hold no bytes."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.serializer import JSON
from kvwrap.errors import KvwrapError
from kvwrap.stores.shared.envelope import is_wrapped, unwrap, wrap

_MARK: Final = "kvwrap:"
_JSON_TYPES: Final = (str, bool, int, float, list, dict)


@dataclass(frozen=True)
class Form:
    """How entries are put into an object, and which values of others it holds.

    Attributes:
        title: What entries become, for `explain()`.
        encode: Returns what to put into the object for the bytes of an entry.
        decode: Returns the bytes, or None for what `encode` returns never. The bytes may be no
            entry all the same.
        takes: Types of the values that other programs put there and kvwrap can read and write.
    """

    title: str
    encode: Callable[[bytes], Any]
    decode: Callable[[Any], bytes | None]
    takes: tuple[type, ...]

    def to_native(self, entry: Entry) -> Any | None:
        """Return the entry's value as other programs put it, or None if they cannot have it."""
        if not codec.is_bare(entry.codec):
            return None
        value: Any = entry.body
        if entry.codec == codec.JSON and self.takes != (bytes,):
            value = JSON.loads(entry.body)
        return value if isinstance(value, self.takes) else None

    def from_native(self, value: Any) -> tuple[bytes, bytes] | None:
        """Return body and codec for a value of another program, or None if it is of no such type.

        An empty codec stands for bytes in the format of the store's serializer.
        """
        if isinstance(value, bytearray | memoryview):
            value = bytes(value)
        if not isinstance(value, self.takes):
            return None
        if isinstance(value, bytes):
            return value, b"" if self.takes == (bytes,) else codec.BYTES
        try:
            return JSON.dumps(value), codec.JSON
        except KvwrapError:
            return None


def _from_bytes(value: Any) -> bytes | None:
    return bytes(value) if isinstance(value, bytes | bytearray | memoryview) else None


def _to_text(data: bytes) -> str:
    return _MARK + base64.b64encode(data).decode()


def _from_text(value: Any) -> bytes | None:
    if not isinstance(value, str) or not value.startswith(_MARK):
        return None
    try:
        return base64.b64decode(value[len(_MARK) :], validate=True)
    except (binascii.Error, ValueError):
        return None


def _from_json(value: Any) -> bytes | None:
    return unwrap(value) if is_wrapped(value) else None


BYTES: Final = Form("bytes", bytes, _from_bytes, (bytes,))
"""For objects that hold bytes only."""
OBJECTS: Final = Form("bytes", bytes, _from_bytes, (bytes, *_JSON_TYPES))
"""For objects that hold Python objects, pickled or as they are."""
TEXT: Final = Form("text", _to_text, _from_text, (str,))
"""For objects that hold text: `kvwrap:` and base64."""
JSON_OBJECTS: Final = Form("JSON objects", wrap, _from_json, (dict,))
"""For objects that hold JSON objects only: `{"kvwrap": "<base64>"}`."""
JSON_VALUES: Final = Form("JSON objects", wrap, _from_json, _JSON_TYPES)
"""For objects that hold all values of JSON."""

BY_NAME: Final = {"bytes": BYTES, "text": TEXT, "json": JSON_OBJECTS}
"""The forms that a user may choose for an object with `get` and `set`."""
