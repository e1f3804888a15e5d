"""Real servers for tests: one file per server, each a subclass of `LocalServer`."""

from kvwrap.testing.servers.base import LocalServer
from kvwrap.testing.servers.nats import NATSCluster, NATSServer
from kvwrap.testing.servers.programs import (
    UNPACKED,
    MissingServerError,
    environment_of,
    find_server,
    require_server,
    server_cache,
)
from kvwrap.testing.servers.redis import RedisServer
from kvwrap.testing.servers.shared import SharedServers

__all__ = [
    "UNPACKED",
    "LocalServer",
    "MissingServerError",
    "NATSCluster",
    "NATSServer",
    "RedisServer",
    "SharedServers",
    "environment_of",
    "find_server",
    "require_server",
    "server_cache",
]
