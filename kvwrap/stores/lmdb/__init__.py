"""LMDB."""

from kvwrap.stores.lmdb.store import LMDBStore

__all__ = ["LMDBStore"]
