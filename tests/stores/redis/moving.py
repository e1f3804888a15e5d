"""A slot of a cluster that moves from one node to another."""

from __future__ import annotations

from kvwrap.stores.redis.topology import Topology
from kvwrap.testing.servers import RedisCluster


class Move:
    """Moves the slot of a key from one node to another, step by step."""

    def __init__(self, cluster: RedisCluster, name: str) -> None:
        self.name = name
        self.slot = Topology([]).slot_of(name)
        masters = cluster.masters
        self.source = next(
            node for node in masters if not node.run(f"GET {name}").startswith(b"-MOVED")
        )
        self.target = next(node for node in masters if node is not self.source)
        self.masters = masters
        self._ids = {
            node: node.run("CLUSTER MYID").split()[1].decode()
            for node in (self.source, self.target)
        }

    def begin(self) -> None:
        ids = self._ids
        self.target.run(f"CLUSTER SETSLOT {self.slot} IMPORTING {ids[self.source]}")
        self.source.run(f"CLUSTER SETSLOT {self.slot} MIGRATING {ids[self.target]}")

    def move_key(self) -> None:
        self.source.run(f"MIGRATE 127.0.0.1 {self.target.port} {self.name} 0 5000")

    def end(self) -> None:
        for node in (self.target, *self.masters):
            node.run(f"CLUSTER SETSLOT {self.slot} NODE {self._ids[self.target]}")
