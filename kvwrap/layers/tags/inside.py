"""What is inside the layer, as far as it matters for the records of tags."""

from __future__ import annotations

from typing import Final

from kvwrap.core.part import parts_from, walk
from kvwrap.core.primitives import Primitives

_OF_ENTRIES: Final = frozenset({"falls_back", "spreads"})
"""Layers whose second stores have entries that reads return."""


def has_cache(inner: Primitives) -> bool:
    """Return True if a layer may answer reads from copies."""
    return any("caches" in part.traits for part in parts_from(inner))


def raw_stores(inner: Primitives) -> list[str]:
    """Return the names of the backends whose values other programs read."""
    return [part.name for part in walk(parts_from(inner), _OF_ENTRIES) if "raw" in part.traits]
