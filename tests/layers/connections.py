"""Connections of several processes to the same stores, each with a clock of its own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from kvwrap import MemoryStore
from kvwrap.core.clock import Clock, SystemClock
from tests.layers.interleaving import GatedStore, Stage


class Offset(SystemClock):
    """The machine's clock, wrong by some seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def time(self) -> float:
        return time.time() + self._seconds


class Connection(MemoryStore):
    """One process's way to a store that several processes share; see `connect`."""

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
    """A connection whose calls wait at gates before they take effect."""


def connect(shared: MemoryStore, clock: Clock) -> Connection:
    """Return a connection to a store for a process with this clock."""
    connection = Connection(clock=clock)
    connection.shared = shared
    return connection


def connect_gated(
    shared: MemoryStore, clock: Clock, stage: Stage, role: str, failing: Sequence[str] = ()
) -> Connection:
    """Return a connection whose calls wait on a stage.

    Args:
        shared: The store.
        clock: The clock of the process.
        stage: Where the calls wait.
        role: Name of the connection in the labels of the gates.
        failing: Calls that fail once, see `GatedStore`.
    """
    connection = GatedConnection(stage, role, before="read write remove drop", failing=failing)
    connection.shared = shared
    connection.clock = clock
    return connection
