"""Read-through cache: a near store in front of a far one."""

from kvwrap.layers.read_through.layer import ReadThrough

__all__ = ["ReadThrough"]
