"""Keys that are tuples of strings, as one string each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

Key = tuple[str, ...]

_END: Final = "\0"
_ESCAPE: Final = "\1"


def encode_key(key: Sequence[str]) -> str:
    """Return the key of a tuple: each part, followed by a NUL.

    So the keys of all tuples with a prefix begin with the key of that prefix, and keys sort as
    tuples do. NUL and U+0001 within a part become U+0001 and then U+0001 or U+0002, which sort
    after the NUL that ends a part, and before every other character. The tuple layer of
    FoundationDB encodes strings by the same principle.
    """
    return "".join(
        part.replace(_ESCAPE, _ESCAPE + "\2").replace(_END, _ESCAPE + _ESCAPE) + _END
        for part in key
    )


def decode_key(text: str) -> Key | None:
    """Return the tuple of a key, or None for a key that `encode_key` does not return."""
    key = tuple(
        part.replace(_ESCAPE + _ESCAPE, _END).replace(_ESCAPE + "\2", _ESCAPE)
        for part in text.split(_END)[:-1]
    )
    return key if key and encode_key(key) == text else None
