"""Whole ranges of keys: counting them, and deleting their entries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from msgspec.structs import replace

from kvwrap.core.paging import ListsKeys, pages
from kvwrap.core.primitives import Collection, Expected, KeyRange
from kvwrap.core.reserved import RESERVED


class Removes(ListsKeys, Protocol):
    """A part of a stack that can list and remove keys."""

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        """Remove entries, as in `Primitives`."""


def matching(keys: Iterable[str], key_range: KeyRange) -> list[str]:
    """Return the keys that are in the range, without those reserved for the records of layers."""
    prefix, start, end = key_range.prefix, key_range.start, key_range.end
    found = [key for key in keys if key.startswith(prefix)] if prefix else list(keys)
    if start is not None:
        found = [key for key in found if key >= start]
    if end is not None:
        found = [key for key in found if key < end]
    if RESERVED.startswith(prefix[: len(RESERVED)]):
        found = [key for key in found if not key.startswith(RESERVED)]
    return found


def prefix_end(prefix: str) -> str | None:
    """Return the first string that sorts after all strings with this prefix, None if none does."""
    while prefix:
        code = ord(prefix[-1]) + 1
        prefix = prefix[:-1]
        if code == 0xD800:
            code = 0xE000  # the code points between are surrogates
        if code <= 0x10FFFF:
            return prefix + chr(code)
    return None


async def count_by_listing(part: ListsKeys, collection: Collection, key_range: KeyRange) -> int:
    """Do the primitive `count_range` by listing the keys, page by page."""
    count = 0
    async for page in pages(part, collection, key_range):
        count += len(matching(page.keys, key_range))
    return count


async def drop_by_removing(part: Removes, collection: Collection, key_range: KeyRange) -> int:
    """Do the primitive `drop_range` by listing the keys and removing each page of them."""
    count = 0
    key_range = replace(key_range, masked=True)
    async for page in pages(part, collection, key_range):
        if keys := matching(page.keys, key_range):
            count += sum(await part.remove(collection, keys))
    return count


_DERIVED: Final[dict[str, tuple[Callable[..., Any], tuple[str, ...]]]] = {
    "count_range": (count_by_listing, ("list_keys", "around")),
    "drop_range": (drop_by_removing, ("list_keys", "remove", "drop", "around")),
}


def derive_ranges(cls: type) -> None:
    """Make a class count and drop ranges by its own primitives, if it changes one of these.

    A class that hides keys, refuses removals or observes operations by their names need not
    know of `count_range` and `drop_range`: unless it implements them too, they are made of its
    `list_keys` and `remove`, and nothing passes by it.
    """
    for name, (derived, rests_on) in _DERIVED.items():
        if _depth(cls, name) > min(_depth(cls, other) for other in rests_on):
            setattr(cls, name, derived)


def _depth(cls: type, name: str) -> int:
    """Return how far up among the classes that it derives from a class gets an attribute."""
    for depth, base in enumerate(cls.__mro__):
        if name in vars(base):
            return depth
    return len(cls.__mro__)
