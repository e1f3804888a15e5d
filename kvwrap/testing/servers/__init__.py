"""Real servers for tests: one file per server, each a subclass of `LocalServer`."""

from kvwrap.testing.servers.azurite import AzuriteServer
from kvwrap.testing.servers.base import LocalServer
from kvwrap.testing.servers.dynamodb import DynamoDBServer
from kvwrap.testing.servers.elasticsearch import ElasticsearchProxy, Reply, Request
from kvwrap.testing.servers.etcd import EtcdCluster, EtcdServer
from kvwrap.testing.servers.memcached import MemcachedServer
from kvwrap.testing.servers.mongodb import MongoDBServer
from kvwrap.testing.servers.moto import MotoServer
from kvwrap.testing.servers.nats import NATSCluster, NATSServer
from kvwrap.testing.servers.opensearch import OpenSearchServer
from kvwrap.testing.servers.pgbouncer import PgBouncerServer
from kvwrap.testing.servers.postgresql import PostgreSQLServer
from kvwrap.testing.servers.programs import (
    UNPACKED,
    MissingServerError,
    environment_of,
    find_server,
    require_server,
    server_cache,
)
from kvwrap.testing.servers.redis import RedisServer
from kvwrap.testing.servers.redis_cluster import RedisCluster
from kvwrap.testing.servers.redis_sentinel import RedisSentinel
from kvwrap.testing.servers.shared import SharedServers
from kvwrap.testing.servers.valkey import ValkeyCluster, ValkeySentinel, ValkeyServer

__all__ = [
    "UNPACKED",
    "AzuriteServer",
    "DynamoDBServer",
    "ElasticsearchProxy",
    "EtcdCluster",
    "EtcdServer",
    "LocalServer",
    "MemcachedServer",
    "MissingServerError",
    "MongoDBServer",
    "MotoServer",
    "NATSCluster",
    "NATSServer",
    "OpenSearchServer",
    "PgBouncerServer",
    "PostgreSQLServer",
    "RedisCluster",
    "RedisSentinel",
    "RedisServer",
    "Reply",
    "Request",
    "SharedServers",
    "ValkeyCluster",
    "ValkeySentinel",
    "ValkeyServer",
    "environment_of",
    "find_server",
    "require_server",
    "server_cache",
]
