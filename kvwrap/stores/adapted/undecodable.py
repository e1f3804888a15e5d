"""Values in an object that its own library cannot decode: damaged ones, and those of others."""

from __future__ import annotations

import json
import pickle
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from kvwrap.errors import StoreUnavailable

_DECODING: Final = (json.JSONDecodeError, UnicodeDecodeError, pickle.UnpicklingError, ImportError)
"""What libraries raise for the bytes of a value, and not for a backend that fails."""


class Undecodable:
    """Stands for a value that the library cannot decode.

    Args:
        reason: The name of its error.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason


async def read_each(
    read: Callable[[Sequence[str]], Awaitable[dict[str, Any]]], names: Sequence[str]
) -> dict[str, Any]:
    """Return what the object holds, with `Undecodable` for values that cannot be decoded.

    Libraries decode the values of a batch together, so that one of them fails all. They are
    then read one after another.

    Args:
        read: Reads the values of some names, as `AdaptedStore` calls the object.
        names: The names.
    """
    try:
        return await read(names)
    except StoreUnavailable as error:
        if not _is_decoding(error.__cause__):
            raise
        if len(names) == 1:
            return {names[0]: Undecodable(type(error.__cause__).__name__)}
    held: dict[str, Any] = {}
    for name in names:
        held |= await read_each(read, [name])
    return held


def _is_decoding(error: BaseException | None) -> bool:
    if isinstance(error, AttributeError):  # of a pickle, whose class is gone
        return str(error).startswith("Can't get attribute ")
    if isinstance(error, sqlite3.OperationalError):
        return str(error).startswith("Could not decode ")
    return isinstance(error, _DECODING)
