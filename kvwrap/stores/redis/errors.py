"""The driver, which is imported when it is wanted, and what its errors mean."""

from __future__ import annotations

import asyncio
from typing import Any

from kvwrap.core.optional import need
from kvwrap.errors import (
    KvwrapError,
    StoreFull,
    StoreTimeout,
    StoreUnavailable,
    ValueTooLarge,
)


def driver(module: str) -> Any:
    """A module of the driver's package, imported now."""
    return need(module, extra="redis", wanted_by="RedisStore")


def failure(error: Exception, **where: Any) -> KvwrapError:
    """What to raise for an error of the driver.

    Its text stays with the cause: some of the driver's errors quote the command that
    failed, values included.
    """
    known = driver("redis.exceptions")
    kind = type(error).__name__
    if isinstance(error, known.TimeoutError | asyncio.TimeoutError):
        return StoreTimeout("Redis did not answer in time", **where)
    if isinstance(error, known.OutOfMemoryError) or str(error).startswith("OOM "):
        return StoreFull("Redis has reached its maxmemory and evicts nothing", **where)
    if isinstance(
        error, known.AuthenticationError | known.AuthorizationError | known.NoPermissionError
    ) or str(error).startswith(("NOAUTH", "WRONGPASS", "NOPERM")):
        return StoreUnavailable(f"Redis refuses this user or password ({kind})", **where)
    if "invalid bulk length" in str(error) or "maximum allowed size" in str(error):
        return ValueTooLarge("the value is over the server's proto-max-bulk-len", **where)
    if isinstance(error, known.ConnectionError | OSError):
        return StoreUnavailable(f"Redis cannot be reached ({kind})", **where)
    return StoreUnavailable(f"Redis refused the command ({kind})", **where)
