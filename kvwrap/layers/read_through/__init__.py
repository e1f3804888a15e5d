"""Read-through cache: answers reads from a near store and fills it from the far store."""

from kvwrap.layers.read_through.layer import ReadThrough

__all__ = ["ReadThrough"]
