"""What the driver connects with, and clients that the user has created."""

from __future__ import annotations

import codecs
import inspect
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl

from kvwrap.core.validation import suggest
from kvwrap.errors import ConfigurationError
from kvwrap.stores.redis.errors import driver
from kvwrap.stores.redis.options import STORE_OPTIONS, RedisOptions
from kvwrap.stores.shared.urls import Address

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


class Settings(NamedTuple):
    """How the driver connects: the class of its connections, and their arguments."""

    cls: Any
    arguments: dict[str, Any]

    def make(self, **more: Any) -> Any:
        """Create a connection, which is not connected."""
        return self.cls(**{**self.arguments, **more})

    def timeout(self, seconds: float | None) -> float | None:
        """Return the timeout of a round trip: the store's, or the driver's if that is shorter."""
        given = [each for each in (seconds, self.arguments["socket_timeout"]) if each]
        return min(given, default=None)


def make_settings(options: RedisOptions) -> Settings:
    """Return the driver's settings for a store without a client.

    Raises:
        ConfigurationError: The URL has options that the driver does not know or accept.
    """
    connections = driver("redis.asyncio.connection")
    arguments = {
        # RESP2: under RESP3 the driver does not check that a connection which is used again has no
        # unread answer.
        "protocol": 2,
        # The store's own timeout applies to the whole call. Retries are left to the Retry layer: a
        # write that the driver repeats may be applied twice.
        "retry": driver("redis.asyncio.retry").Retry(driver("redis.backoff").NoBackoff(), 0),
        "socket_timeout": None,
        "socket_connect_timeout": None,
        **options.driver_options,
    }
    url = options.driver_url
    _check_url_options(url, options.product)
    try:
        arguments.update(connections.parse_url(url) if url else {})
        cls = arguments.pop("connection_class", connections.Connection)
        if options.scheme in ("redis+cluster", "redis+sentinel"):
            parts = options.parts
            login = {"username": parts.username, "password": parts.password}
            arguments.update({name: text for name, text in login.items() if text is not None})
        if options.scheme == "redis+sentinel" and options.sentinel[1] is not None:
            arguments["db"] = options.sentinel[1]
        tls = options.made_tls
        if tls is not None:
            cls = connections.SSLConnection
            arguments |= {
                "ssl_ca_certs": tls.ca,
                "ssl_certfile": tls.cert,
                "ssl_keyfile": tls.key,
                "ssl_check_hostname": True,
            }
        settings = Settings(cls, arguments)
        settings.make()  # raises for invalid values; connects to nothing
    except (TypeError, ValueError, AttributeError):
        # Neither the URL nor the driver's error is shown: they may contain the password.
        names = [name for name in _names_in(url) if name in _URL_OPTIONS]
        raise ConfigurationError(
            f"the options of a {options.product} URL must have values that the driver accepts; "
            "check " + ", ".join(names or ["host, port, db, username and password"])
        ) from None
    return settings


def _names_in(url: str) -> list[str]:
    """Return the names of the options of a URL."""
    return [name for name, _ in parse_qsl(url.partition("?")[2], keep_blank_values=True)]


def _check_url_options(url: str, product: str) -> None:
    """Raise ConfigurationError for an option that is unknown or would break the store."""
    for name in _names_in(url):
        if name in _URL_OPTIONS:
            continue
        if name in STORE_OPTIONS:
            raise ConfigurationError(
                f"the option {name!r} is the store's, not the driver's: pass {name}= to "
                f"{product}Store or the URL to store_from_url"
            )
        if name in _REFUSED:
            raise ConfigurationError(
                f"a {product} URL must not have the option {name!r}: {_REFUSED[name]}"
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


def address_of(arguments: Mapping[str, Any], service: str | None = None) -> str:
    """Return where connections with these arguments lead: host and port, a path, or a service."""
    if service is not None:
        return f"Sentinel's service {service!r}"
    if "path" in arguments:
        return str(arguments["path"])
    return str(Address(arguments.get("host", "localhost"), int(arguments.get("port", 6379))))


def is_cluster(options: RedisOptions) -> bool:
    """Return True if the URL or the client is that of a cluster."""
    if options.client is None:
        return options.scheme == "redis+cluster"
    return isinstance(options.client, driver("redis.asyncio").RedisCluster)


def cluster_addresses(options: RedisOptions) -> tuple[Address, ...]:
    """Return the nodes that the URL or the client of a cluster names."""
    if options.client is None:
        return options.parts.addresses
    nodes = checked_client(options.client).nodes_manager.startup_nodes.values()
    return tuple(Address(node.host, int(node.port)) for node in nodes)


def known_servers(options: RedisOptions) -> Sequence[tuple[str, int | None]]:
    """Return the server, or the nodes of a cluster that are named; nothing behind Sentinel."""
    if is_cluster(options):
        return cluster_addresses(options)
    if options.client is not None:
        pool = checked_client(options.client).connection_pool
        if getattr(pool, "service_name", None) is not None:
            return ()
        arguments = pool.connection_kwargs
    elif options.scheme == "redis+sentinel":
        return ()
    else:
        arguments = make_settings(options).arguments
    if "path" in arguments:
        return ((str(arguments["path"]), None),)
    return (Address(arguments.get("host", "localhost"), int(arguments.get("port", 6379))),)


def location(options: RedisOptions) -> str:
    """Return where the entries of a store with these options are."""
    keys = "other programs' keys" if options.raw else f"namespace {options.namespace!r}"
    if is_cluster(options):
        nodes = ", ".join(map(str, cluster_addresses(options)))
        return f"{keys} in the cluster of {options.product} at {nodes}"
    if options.client is not None:
        pool = checked_client(options.client).connection_pool
        arguments = pool.connection_kwargs
        address = address_of(arguments, getattr(pool, "service_name", None))
    else:
        arguments = make_settings(options).arguments
        address = address_of(arguments)
    if options.scheme == "redis+sentinel":
        address = address_of(arguments, options.sentinel[0])
        address += f" at {', '.join(map(str, options.parts.addresses))}"
    database = arguments.get("db") or 0
    return f"{keys} in database {database} of {options.product} at {address}"


def checked_client(client: Any) -> Any:
    """Check that the store can use a client, and return it.

    Raises:
        ConfigurationError: It is not a client of redis.asyncio, or it does not return bytes.
    """
    known = driver("redis.asyncio")
    if not isinstance(client, known.Redis | known.RedisCluster):
        cls = type(client)
        raise ConfigurationError(
            "`client` must be a redis.asyncio.Redis or RedisCluster; got "
            f"{cls.__module__}.{cls.__qualname__}"
        )
    if client.get_encoder().decode_responses:
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
