"""Pools of connections, and clients that the user has created."""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from kvwrap.core.validation import suggest
from kvwrap.errors import ConfigurationError
from kvwrap.stores.redis.errors import driver
from kvwrap.stores.redis.options import STORE_OPTIONS, RedisOptions


def make_pool(options: RedisOptions) -> Any:
    """Create a pool of connections, which are opened when they are used.

    Raises:
        ConfigurationError: The URL has options that the driver does not know or accept.
    """
    connections = driver("redis.asyncio.connection")
    settings = {
        # RESP2: under RESP3 the driver does not check that a connection which is used again has no
        # unread answer.
        "protocol": 2,
        # The store's own timeout applies to the whole call. Retries are left to the Retry layer: a
        # write that the driver repeats may be applied twice.
        "retry": driver("redis.asyncio.retry").Retry(driver("redis.backoff").NoBackoff(), 0),
        "socket_timeout": None,
        "socket_connect_timeout": None,
        # The server limits the round trips in progress. A limit here would raise, not wait.
        "max_connections": 2**31,
        **options.driver_options,
    }
    try:
        if options.url is not None:
            settings.update(connections.parse_url(options.url))
        pool = connections.ConnectionPool(**settings)
        pool.make_connection()  # raises for unknown options; connects to nothing
    except (TypeError, ValueError, AttributeError):
        # Neither the URL nor the driver's error is shown: they may contain the password.
        raise ConfigurationError(_option_error(options.url)) from None
    return pool


def _option_error(url: str | None) -> str:
    """Return the message for a URL whose options the driver refuses."""
    known = _option_names()
    names = [name for name, _ in parse_qsl(urlsplit(url or "").query, keep_blank_values=True)]
    for name in names:
        if name in STORE_OPTIONS:
            return (
                f"the option {name!r} is the store's, not the driver's: pass {name}= to RedisStore "
                "or the URL to store_from_url"
            )
        if name not in known:
            hint = "see the arguments of redis.asyncio.Connection"
            if get_close_matches(name, known):
                hint = suggest(name, known)
            return f"unknown URL option {name!r}: {hint}"
    return (
        "the options of a Redis URL must have values that the driver accepts; check "
        + ", ".join(names or ["host, port, db, username and password"])
    )


def _option_names() -> set[str]:
    """Return the names of the options that the driver's connections and pools have."""
    connections = driver("redis.asyncio.connection")
    classes = [
        *connections.SSLConnection.__mro__,
        *connections.UnixDomainSocketConnection.__mro__,
        connections.ConnectionPool,
    ]
    return {
        parameter.name
        for cls in classes
        if cls is not object
        for parameter in inspect.signature(cls.__init__).parameters.values()
        if parameter.name != "self" and parameter.kind is not parameter.VAR_KEYWORD
    }


def server_address(pool: Any) -> str:
    """Return where the connections of a pool lead, for errors: host and port, or a path."""
    settings = pool.connection_kwargs
    service = getattr(pool, "service_name", None)
    if service is not None:
        return f"Sentinel's service {service!r}"
    if "path" in settings:
        return str(settings["path"])
    return f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"


def location(options: RedisOptions) -> str:
    """Return where the entries of a store with these options are."""
    client = options.client
    pool = make_pool(options) if client is None else checked_client(client).connection_pool
    database = pool.connection_kwargs.get("db") or 0
    keys = "other programs' keys" if options.raw else f"namespace {options.namespace!r}"
    return f"{keys} in database {database} of Redis at {server_address(pool)}"


def checked_client(client: Any) -> Any:
    """Check that the store can use a client, and return it.

    Raises:
        ConfigurationError: It is not a client of redis.asyncio, or it does not return bytes.
    """
    if not isinstance(client, driver("redis.asyncio").Redis):
        cls = type(client)
        raise ConfigurationError(
            f"`client` must be a redis.asyncio.Redis; got {cls.__module__}.{cls.__qualname__}"
        )
    if client.connection_pool.connection_kwargs.get("decode_responses"):
        raise ConfigurationError(
            "`client` must return bytes; got one with decode_responses=True: create one without it"
        )
    return client
