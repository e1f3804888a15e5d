"""Servers of Valkey for tests, which are like those of Redis."""

from __future__ import annotations

from typing import ClassVar

from kvwrap.testing.servers.redis import RedisServer
from kvwrap.testing.servers.redis_cluster import RedisCluster
from kvwrap.testing.servers.redis_sentinel import RedisSentinel


class ValkeyServer(RedisServer):
    """A Valkey server started by this process, empty, which writes no data to disk."""

    program_name: ClassVar[str] = "valkey-server"

    @property
    def url(self) -> str:
        """The URL of database 0."""
        return f"valkey://127.0.0.1:{self.port}/0"


class ValkeyCluster(RedisCluster):
    """A cluster of Valkey: three masters and three replicas, empty."""

    program_name: ClassVar[str] = "valkey-server"
    scheme: ClassVar[str] = "valkey+cluster"


class ValkeySentinel(RedisSentinel):
    """A service of Valkey called `main`: a primary, its replica and three Sentinels, empty."""

    program_name: ClassVar[str] = "valkey-server"
    scheme: ClassVar[str] = "valkey+sentinel"
