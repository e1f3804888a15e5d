"""Pools of connections, and clients that the user has created."""

from __future__ import annotations

import codecs
import inspect
from difflib import get_close_matches
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from kvwrap.core.validation import suggest
from kvwrap.errors import ConfigurationError
from kvwrap.stores.redis.errors import driver
from kvwrap.stores.redis.options import STORE_OPTIONS, RedisOptions

_URL_OPTIONS: Final = frozenset(
    {
        *("host", "port", "path", "db", "username", "password"),
        *("client_name", "lib_name", "lib_version"),
        *("socket_timeout", "socket_connect_timeout", "socket_keepalive", "health_check_interval"),
        *("ssl_keyfile", "ssl_certfile", "ssl_password", "ssl_cert_reqs", "ssl_check_hostname"),
        *("ssl_ca_certs", "ssl_ca_path", "ssl_ca_data", "ssl_ciphers"),
    }
)
"""Options of the driver that a URL may have: the value is text or a number, and all else works."""

_REFUSED: Final = {
    **dict.fromkeys(
        ("decode_responses", "encoding", "encoding_errors"),
        "values must arrive as bytes, and names are UTF-8. Leave it out; to store text as it is, "
        "use raw=True with a serializer",
    ),
    **dict.fromkeys(
        ("retry", "retry_on_timeout", "retry_on_error"),
        "a write that the driver repeats may be applied twice. Use .retry(...) of a stack",
    ),
    "protocol": "the store uses RESP2. Leave it out",
}
"""Options of the driver that would break the store, and what to do instead."""


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
    _check_url_options(options.url)
    try:
        if options.url is not None:
            settings.update(connections.parse_url(options.url))
        pool = connections.ConnectionPool(**settings)
        pool.make_connection()  # raises for invalid values; connects to nothing
    except (TypeError, ValueError, AttributeError):
        # Neither the URL nor the driver's error is shown: they may contain the password.
        names = [name for name in _names_in(options.url) if name in _URL_OPTIONS]
        raise ConfigurationError(
            "the options of a Redis URL must have values that the driver accepts; check "
            + ", ".join(names or ["host, port, db, username and password"])
        ) from None
    return pool


def _names_in(url: str | None) -> list[str]:
    """Return the names of the options of a URL."""
    return [name for name, _ in parse_qsl(urlsplit(url or "").query, keep_blank_values=True)]


def _check_url_options(url: str | None) -> None:
    """Raise ConfigurationError for an option that is unknown or would break the store."""
    for name in _names_in(url):
        if name in _URL_OPTIONS:
            continue
        if name in STORE_OPTIONS:
            raise ConfigurationError(
                f"the option {name!r} is the store's, not the driver's: pass {name}= to RedisStore "
                "or the URL to store_from_url"
            )
        if name in _REFUSED:
            raise ConfigurationError(
                f"a Redis URL must not have the option {name!r}: {_REFUSED[name]}"
            )
        if name in _option_names():
            raise ConfigurationError(
                f"the option {name!r} cannot be given in a URL: create a redis.asyncio.Redis with "
                "it and pass that as client="
            )
        hint = "see the arguments of redis.asyncio.Connection"
        if get_close_matches(name, _URL_OPTIONS):
            hint = suggest(name, _URL_OPTIONS)
        shown = f" {name!r}" if name.isidentifier() else ""
        raise ConfigurationError(f"unknown URL option{shown}: {hint}")


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
    encoding = client.get_encoder().encoding
    if codecs.lookup(encoding).name != "utf-8":
        raise ConfigurationError(
            f"`client` must have the encoding UTF-8, in which names are written; got {encoding!r}: "
            "create one without it"
        )
    return client
