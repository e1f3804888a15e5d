"""What the arguments of methods may be: names, batches and limits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from kvwrap.errors import InvalidBatch, InvalidKey, InvalidValue


def checked_key(key: object) -> str:
    """The key as a plain `str`; raises `InvalidKey` for anything that cannot be one."""
    return _checked(key, "key")


def checked_collection(collection: object) -> str | None:
    """The collection as a plain `str` or `None`; raises `InvalidKey` otherwise."""
    return None if collection is None else _checked(collection, "collection")


def checked_keys(keys: Iterable[str]) -> list[str]:
    """The keys of a batch; a bare string is refused, since its letters are rarely meant."""
    if isinstance(keys, str | bytes):
        raise InvalidBatch("a batch takes a sequence of keys, not a single string: use [key]")
    try:
        batch = list(keys)
    except TypeError:
        raise InvalidBatch(f"a batch takes a sequence of keys, not {type(keys).__name__}") from None
    for index, key in enumerate(batch):
        if type(key) is not str or not key or not key.isascii():
            batch[index] = _checked(key, "key")
    return batch


def checked_values(values: Iterable[Any], wanted: int) -> list[Any]:
    """The values of a batch, as many as its keys.

    A string or mapping is refused: its letters or its keys are rarely meant.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InvalidBatch(f"a batch takes a sequence of values, not {type(values).__name__}")
    batch = list(values)
    if len(batch) != wanted:
        raise InvalidBatch(f"{wanted} keys and {len(batch)} values: nothing was written")
    return batch


def checked_limit(limit: object) -> int | None:
    """How many at most; nothing is below 0."""
    if limit is None:
        return None
    if type(limit) is not int:
        raise InvalidValue(f"a limit is a whole number or None, not {type(limit).__name__}")
    return max(0, limit)


def checked_bound(text: object, what: str) -> str:
    """A prefix or an end of a range as a plain `str`, which may be empty."""
    return "" if text == "" else _checked(text, what)


def _checked(name: object, what: str) -> str:
    if not isinstance(name, str):
        raise InvalidKey(f"a {what} is a string, not {type(name).__name__}")
    if not name:
        raise InvalidKey(f"a {what} has at least one character")
    # A subclass (a StrEnum member, say) may print as something else than it compares.
    plain = str.__str__(name) if type(name) is str else "".join(name)
    try:
        plain.encode()
    except UnicodeEncodeError:
        raise InvalidKey(f"a {what} is valid Unicode, without lone surrogates: {plain!r}") from None
    return plain
