"""Entries in Redis or Valkey."""

from kvwrap.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
