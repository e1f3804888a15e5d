"""Memcached."""

from kvwrap.stores.memcached.store import MemcachedStore

__all__ = ["MemcachedStore"]
