"""Entries in the memory of this process."""

from kvwrap.stores.memory.store import MemoryStore

__all__ = ["MemoryStore"]
