"""Stores that have the `AsyncKeyValue` protocol."""

from kvwrap.stores.key_value.store import KeyValueStore

__all__ = ["KeyValueStore"]
