"""Stacks over the same replicas, each as a process of its own would have it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kvwrap import MemoryStore, Store
from kvwrap.layers.replication import Replication
from tests.layers.connections import Offset, connect_gated
from tests.layers.interleaving import Stage


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
    clock = Offset(ahead)
    connections = [
        connect_gated(
            store, clock, stage, f"{name}-{number}", failing if number == failing_at else ()
        )
        for number, store in enumerate(shared)
    ]
    arguments: Any = {"write_quorum": 2, "read_quorum": 2, "failures": 10**6, **options}
    return Replication(connections[1:], **arguments).over(connections[0])
