"""Entries in Valkey, over what `RedisStore` is made of."""

from __future__ import annotations

from typing import ClassVar

from kvwrap.stores.redis import RedisStore


class ValkeyStore(RedisStore):
    """Keeps entries in a Valkey server (7.2 or later) or a cluster of them.

    Valkey has the protocol and the commands of Redis, so this is `RedisStore` with other URLs, and
    errors that name Valkey. Its driver is redis-py, which is the fastest one for asyncio. A
    `client` is a `redis.asyncio.Redis` too.

    Args:
        url: `valkey://user:password@host:port/db`, `valkeys://…` for TLS,
            `valkey+cluster://host:port,host:port`, or `valkey+sentinel://host:port/service/db`.
            All other arguments are those of `RedisStore`.
    """

    product: ClassVar[str] = "Valkey"
