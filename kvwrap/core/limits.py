"""Limits of a store that evicts entries, and what it would hold with others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from kvwrap.core.primitives import Collection, KeyRange, QualifiedKey


class Outline(msgspec.Struct, eq=False, gc=False):
    """An entry in a simulation: its name, size and times, without its value.

    Attributes:
        collection: The collection.
        key: The key.
        size: Its size in bytes.
        fresh_until: Until when a read that finds it is a hit, in the time of `Simulation.use`.
        end: When it expires, in the same time; infinity for never.
        uses: For eviction: how often it was used recently.
        place: For eviction: where it is.
    """

    collection: Collection
    key: str
    size: int
    fresh_until: float
    end: float
    uses: int = 0
    place: int = 0


class Simulation(Protocol):
    """What a store with other limits would hold. No call of it waits."""

    def use(self, name: QualifiedKey, now: float) -> bool:
        """Return True if a read at that time would be a hit."""

    def put(self, outline: Outline, now: float) -> None:
        """Put an entry at that time."""

    def remove(self, name: QualifiedKey) -> None:
        """Remove an entry if it is there."""

    def drop(self, collection: Collection, key_range: KeyRange) -> None:
        """Remove the entries of a range."""

    def drop_all(self) -> None:
        """Remove everything."""

    def __len__(self) -> int: ...


class Limits(msgspec.Struct, frozen=True):
    """How much a store keeps, and how to simulate one that keeps more or less.

    Attributes:
        max_entries: Maximum number of entries; None for no limit.
        max_bytes: Maximum total size of the values in bytes; None for no limit.
        simulate: Returns the simulation of an empty store with these two limits.
    """

    max_entries: int | None
    max_bytes: int | None
    simulate: Callable[[float | None, float | None], Simulation]
