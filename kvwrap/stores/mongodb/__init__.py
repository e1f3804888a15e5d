"""Entries as documents of MongoDB."""

from kvwrap.stores.mongodb.store import MongoDBStore

__all__ = ["MongoDBStore"]
