"""Entries as JSON objects, for backends that hold nothing else."""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final

_ARMOUR: Final = "kvwrap"


def wrap(data: bytes) -> dict[str, Any]:
    """The object that stands for an entry's bytes: `{"kvwrap": "<base64>"}`."""
    return {_ARMOUR: base64.b64encode(data).decode()}


def is_wrapped(value: Any) -> bool:
    """Whether this is such an object, by its looks."""
    return isinstance(value, dict) and len(value) == 1 and isinstance(value.get(_ARMOUR), str)


def unwrap(value: dict[str, Any]) -> bytes:
    """The entry in its armour; nothing, which is no entry, if the armour is broken."""
    try:
        return base64.b64decode(value[_ARMOUR], validate=True)
    except (binascii.Error, ValueError):
        return b""
