"""How a server is reached: the connections of a store's options."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from kvwrap.stores.redis.connections import address_of, checked_client, make_settings
from kvwrap.stores.redis.options import RedisOptions
from kvwrap.stores.redis.pools import ClientPool, ClusterNodePool, OwnPool, Pool
from kvwrap.stores.redis.sentinel import SentinelPool
from kvwrap.stores.shared.urls import Address


def reach_server(options: RedisOptions) -> tuple[Callable[[], Pool], str]:
    """Return what makes the connections to the only server, and where it is.

    Raises:
        ConfigurationError: The store cannot use the client or the URL.
    """
    if options.client is not None:
        pool = checked_client(options.client).connection_pool
        where = address_of(pool.connection_kwargs, getattr(pool, "service_name", None))
        return lambda: ClientPool(pool), where
    settings = make_settings(options)
    if options.scheme == "redis+sentinel":
        where = address_of(settings.arguments, options.sentinel[0])
        return lambda: SentinelPool(options, settings), where
    return lambda: OwnPool(settings.make), address_of(settings.arguments)


def reach_nodes(options: RedisOptions) -> Callable[[Address], Pool]:
    """Return what makes the connections to a node of a cluster."""
    if options.client is not None:
        return lambda address: ClientPool(ClusterNodePool(options.client, address))
    settings = make_settings(options)
    return lambda address: OwnPool(partial(settings.make, host=address.host, port=address.port))
