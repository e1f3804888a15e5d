"""Compression of values, with trained dictionaries."""

from kvwrap.layers.compression.layer import Compression

__all__ = ["Compression"]
