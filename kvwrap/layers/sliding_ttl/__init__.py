"""Sliding expiration: a read renews the lifetime of an entry."""

from kvwrap.layers.sliding_ttl.layer import SlidingTTL

__all__ = ["SlidingTTL"]
