"""SQLite."""

from kvwrap.stores.sqlite.store import SQLiteStore

__all__ = ["SQLiteStore"]
