"""Envelopes: entries as JSON objects, for backends that hold nothing else."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

_FIELD: Final = "kvwrap"


def wrap(data: bytes) -> dict[str, Any]:
    """Wrap the bytes of an entry in a JSON object: `{"kvwrap": "<base64>"}`."""
    return {_FIELD: base64.b64encode(data).decode()}


def is_wrapped(value: Any) -> bool:
    """Return True if the value has the form of an envelope."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(_FIELD), str)


def unwrap(value: dict[str, Any]) -> bytes:
    """Return the bytes in an envelope, or no bytes, which are not an entry, if it is broken."""
    try:
        return base64.b64decode(value[_FIELD], validate=True)
    except (binascii.Error, ValueError):
        return b""
