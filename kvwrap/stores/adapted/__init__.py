"""Stores over objects of other libraries."""

from kvwrap.stores.adapted.store import AdaptedStore

__all__ = ["AdaptedStore"]
