"""Real servers for tests: one file per server, each a subclass of `LocalServer`."""

from kvwrap.testing.servers.base import LocalServer
from kvwrap.testing.servers.programs import UNPACKED, environment_of, find_server
from kvwrap.testing.servers.redis import RedisServer
from kvwrap.testing.servers.shared import SharedServers

__all__ = [
    "UNPACKED",
    "LocalServer",
    "RedisServer",
    "SharedServers",
    "environment_of",
    "find_server",
]
