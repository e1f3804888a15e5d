"""Stacks over the same replicas, each as a process of its own would have it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from kvwrap import MemoryStore, Store
from kvwrap.core.clock import SystemClock
from kvwrap.layers.replication import Replication
from tests.layers.interleaving import GatedStore, Stage


class Offset(SystemClock):
    """The machine's clock, wrong by some seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def time(self) -> float:
        return time.time() + self._seconds


class Connection(MemoryStore):
    """One process's way to a store that several processes share."""

    shared: MemoryStore

    async def read(self, *arguments: Any) -> Any:
        return await self.shared.read(*arguments)

    async def write(self, *arguments: Any) -> Any:
        return await self.shared.write(*arguments)

    async def remove(self, *arguments: Any) -> Any:
        return await self.shared.remove(*arguments)

    async def list_keys(self, *arguments: Any) -> Any:
        return await self.shared.list_keys(*arguments)

    async def list_collections(self) -> Any:
        return await self.shared.list_collections()


class GatedConnection(GatedStore, Connection):
    """A connection whose calls wait at gates."""


def process(
    stage: Stage,
    shared: Sequence[MemoryStore],
    name: str,
    *,
    ahead: float = 0.0,
    failing: Sequence[str] = (),
    failing_at: int = 0,
    **options: Any,
) -> Store:
    """Return the stack of one process.

    Args:
        stage: Where the calls to the replicas wait.
        shared: The replicas.
        name: Name of the process in the labels of the gates.
        ahead: Seconds by which its clock is ahead.
        failing: Calls that fail once, see `GatedStore`.
        failing_at: The number of the replica at which they fail.
        options: Arguments of the layer.
    """
    connections = []
    for number, store in enumerate(shared):
        connection = GatedConnection(
            stage,
            f"{name}-{number}",
            before="read write",
            failing=failing if number == failing_at else (),
        )
        connection.shared = store
        connection.clock = Offset(ahead)
        connections.append(connection)
    arguments: Any = {"write_quorum": 2, "read_quorum": 2, "failures": 10**6, **options}
    return Replication(connections[1:], **arguments).over(connections[0])
