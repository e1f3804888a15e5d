"""A cluster of Redis for tests: three masters, each with a replica."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

from kvwrap.testing.servers.base import free_port
from kvwrap.testing.servers.group import ServerGroup, wait_until
from kvwrap.testing.servers.redis import RedisServer

_SLOTS = 16384
_MASTERS = 3


class ClusterMember(RedisServer):
    """A node of a cluster, which notices after a second that another one is gone."""

    def command(self, folder: Path) -> Sequence[str]:
        self.bus_port = free_port()
        return [
            *super().command(folder),
            *("--cluster-enabled", "yes", "--cluster-port", str(self.bus_port)),
            *("--cluster-config-file", "nodes.conf", "--cluster-node-timeout", "1000"),
            *("--cluster-replica-validity-factor", "0", "--cluster-allow-replica-migration", "no"),
            *("--repl-diskless-sync-delay", "0"),
        ]


class RedisCluster(ServerGroup):
    """A cluster of three masters and three replicas, empty, which write no data to disk.

    Args:
        arguments: Additional arguments for the command line of every node.
        program: Name or path of the program to run instead of `redis-server`.

    Attributes:
        nodes: The servers; the first three begin as masters.

    Raises:
        ConfigurationError: `redis-server` is not installed.
    """

    program_name: ClassVar[str] = "redis-server"
    scheme: ClassVar[str] = "redis+cluster"
    member_class: ClassVar[type[ClusterMember]] = ClusterMember

    def __init__(self, *arguments: str, program: str | None = None) -> None:
        super().__init__(*arguments, program=program)
        self.nodes = [
            self.member_class(*arguments, program=str(self.program)) for _ in range(2 * _MASTERS)
        ]

    @property
    def members(self) -> Sequence[ClusterMember]:
        return self.nodes

    @property
    def url(self) -> str:
        """The URL, which names all nodes."""
        return f"{self.scheme}://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)

    @property
    def masters(self) -> list[ClusterMember]:
        """The running nodes that are masters now."""
        return [
            node for node in self.nodes if node.answers() and b"master" in node.run("ROLE")[:16]
        ]

    def join(self) -> None:
        size = -(-_SLOTS // _MASTERS)
        for number, node in enumerate(self.nodes):
            if number < _MASTERS:
                last = min((number + 1) * size, _SLOTS) - 1
                node.run(f"CLUSTER ADDSLOTSRANGE {number * size} {last}")
            node.run(f"CLUSTER SET-CONFIG-EPOCH {number + 1}")
            node.run(f"CLUSTER MEET 127.0.0.1 {self.nodes[0].port} {self.nodes[0].bus_port}")
        known = f"cluster_known_nodes:{len(self.nodes)}".encode()
        wait_until(
            lambda: all(known in node.run("CLUSTER INFO") for node in self.nodes),
            "the nodes of the cluster did not find each other",
        )
        for master, replica in zip(self.nodes, self.nodes[_MASTERS:], strict=False):
            wait_until(partial(_follow, replica, master), "a replica did not find its master")
        wait_until(self._is_ready, "the cluster was not ready")

    def _is_ready(self) -> bool:
        return all(b"cluster_state:ok" in node.run("CLUSTER INFO") for node in self.nodes) and all(
            b"connected" in node.run("ROLE") for node in self.nodes[_MASTERS:]
        )


def _follow(replica: RedisServer, master: RedisServer) -> bool:
    """Make a node the replica of another one. Returns False if it does not know that one yet."""
    identity = master.run("CLUSTER MYID").split()[1].decode()
    return replica.run(f"CLUSTER REPLICATE {identity}").startswith(b"+")
