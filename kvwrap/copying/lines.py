"""Entries as lines of JSON.

    {"collection": "users", "key": "ada", "value": {"visits": 1}, "expires_at": 1790000000.0}

`collection` is missing for the default one, and `expires_at` (Unix seconds) for an entry without
expiry. A value that JSON cannot hold stands under another name than `value`: bytes under `bytes`,
and what MessagePack can hold under `msgpack`, both in base64.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from kvwrap.copying.batch import Item
from kvwrap.core.codec import MSGPACK
from kvwrap.core.primitives import Collection
from kvwrap.core.serializer import JSON, SAFE
from kvwrap.core.validation import checked_collection, checked_key, suggest
from kvwrap.errors import InvalidKey, InvalidValue, SerializationError

_PACKED = SAFE[MSGPACK]
_FORMS = ("value", "bytes", "msgpack")
_FIELDS = ("collection", "key", "expires_at", *_FORMS)


class Line(msgspec.Struct, frozen=True):
    """An entry that a line describes.

    Attributes:
        collection: Its collection.
        key: Its key.
        value: Its value.
        expires_at: When it expires, in Unix seconds; `None` for never.
    """

    collection: Collection
    key: str
    value: Any
    expires_at: float | None


def line_of(collection: Collection, item: Item, now: float) -> bytes:
    """Return the line of an entry, without a line break.

    Raises:
        SerializationError: The value is of a type that only Python's pickle can hold.
    """
    fields: dict[str, Any] = {} if collection is None else {"collection": collection}
    fields["key"] = item.key
    form, content = _form_of(item.value)
    fields[form] = content
    if item.ttl is not None:
        fields["expires_at"] = round(now + item.ttl, 3)
    return msgspec.json.encode(fields)


def parse_line(line: bytes) -> Line:
    """Return the entry that a line describes.

    Raises:
        InvalidValue: The line is not of this form. The message does not quote it.
    """
    try:
        fields = JSON.loads(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError):
        raise InvalidValue("the line must be a JSON object; got something else") from None
    if not isinstance(fields, dict):
        raise InvalidValue(f"the line must be a JSON object; got a {type(fields).__name__}")
    for name in fields:
        if name not in _FIELDS:
            raise InvalidValue(f"the line has an unknown field {name!r}: {suggest(name, _FIELDS)}")
    forms = [form for form in _FORMS if form in fields]
    if len(forms) != 1:
        raise InvalidValue(
            f"the line must have exactly one of {', '.join(_FORMS)}; got {', '.join(forms) or 0}"
        )
    try:
        key = checked_key(fields.get("key"))
        collection = checked_collection(fields.get("collection"))
    except InvalidKey as error:
        raise InvalidValue(error.message) from None
    return Line(collection, key, _value_of(forms[0], fields[forms[0]]), _expiry_of(fields))


def _form_of(value: Any) -> tuple[str, Any]:
    if isinstance(value, bytes):
        return "bytes", value  # msgspec encodes it in base64
    try:
        return "value", msgspec.Raw(JSON.dumps(value))
    except SerializationError:
        return "msgpack", _PACKED.dumps(value)


def _value_of(form: str, content: Any) -> Any:
    if form == "value":
        return content
    try:
        packed = base64.b64decode(content, validate=True)
        return packed if form == "bytes" else _PACKED.loads(packed)
    except (binascii.Error, TypeError, ValueError, msgspec.DecodeError):
        raise InvalidValue(f"`{form}` must be base64 as an export writes it") from None


def _expiry_of(fields: dict[str, Any]) -> float | None:
    expires_at = fields.get("expires_at")
    if expires_at is None or (
        isinstance(expires_at, int | float) and not isinstance(expires_at, bool)
    ):
        return expires_at
    raise InvalidValue(
        f"`expires_at` must be Unix seconds or null; got a {type(expires_at).__name__}"
    )
