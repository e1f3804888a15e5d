"""Pools of connections, and clients that a user has made."""

from __future__ import annotations

from typing import Any

from kvwrap.errors import ConfigurationError
from kvwrap.stores.redis.errors import driver


def pool(url: str | None, **given: Any) -> Any:
    """A pool of connections, none of them made yet.

    Raises:
        ConfigurationError: The URL is none of Redis's, or has options that there are not.
    """
    connections = driver("redis.asyncio.connection")
    settings = {
        # RESP2, since under RESP3 the driver leaves out its check that a connection handed
        # out again has no unread answer on it.
        "protocol": 2,
        # The store's own timeout is on the whole call, and whether to try again is for
        # the Retry layer: a retried write may be applied twice.
        "retry": driver("redis.asyncio.retry").Retry(driver("redis.backoff").NoBackoff(), 0),
        "socket_timeout": None,
        "socket_connect_timeout": None,
        # The store hands out turns; a limit here would raise instead of wait.
        "max_connections": 2**31,
        **{name: value for name, value in given.items() if value is not None},
    }
    try:
        if url is not None:
            settings.update(connections.parse_url(url))
        made = connections.ConnectionPool(**settings)
        made.make_connection()  # finds unknown options; connects to nothing
    except (TypeError, ValueError, AttributeError):
        # Neither the URL nor the driver's text is shown: they may hold the password.
        raise ConfigurationError(
            "this is not a URL of Redis, or its options are not the driver's: "
            "redis://user:password@host:6379/0, rediss://… for TLS, unix:///path?db=0"
        ) from None
    return made


def checked_client(client: Any) -> Any:
    """The client; raises `ConfigurationError` for one that the store cannot use."""
    known = driver("redis.asyncio")
    if not isinstance(client, known.Redis):
        raise ConfigurationError(
            f"client is a redis.asyncio.Redis, not {type(client).__module__}."
            f"{type(client).__qualname__}"
        )
    if client.connection_pool.connection_kwargs.get("decode_responses"):
        raise ConfigurationError(
            "this client has decode_responses=True, and entries are bytes: make one without"
        )
    return client
