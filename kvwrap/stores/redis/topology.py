"""Which node of a cluster has which keys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from kvwrap.stores.redis.errors import driver
from kvwrap.stores.shared.urls import Address

SLOTS: Final = 16384
"""Number of parts that a cluster divides its keys into."""


class Topology:
    """The nodes of a cluster, as one of them described it last.

    Args:
        addresses: The nodes to ask first.

    Attributes:
        is_stale: True if the nodes should be asked again.
        version: A number that changes when a slot belongs to another node.
        masters: The nodes that have slots, in an order of their own.
    """

    def __init__(self, addresses: Sequence[Address]) -> None:
        self._slot_of = driver("redis.crc").key_slot
        self._seeds = tuple(addresses)
        self._nodes: list[Address] = []
        self._failed: set[Address] = set()
        self._slots: list[Address | None] = [None] * SLOTS
        self.is_stale = True
        self.version = 0
        self.masters: list[Address] = []

    def slot_of(self, name: str) -> int:
        """Return the slot of a key."""
        slot: int = self._slot_of(name.encode())
        return slot

    def owner_of(self, slot: int) -> Address | None:
        """Return the node that has a slot, or None if no node is known to have it."""
        return self._slots[slot]

    def to_ask(self) -> list[Address]:
        """Return the nodes to ask about the cluster, one after the other."""
        known = dict.fromkeys((*self._nodes, *self._seeds))
        return sorted(known, key=self._failed.__contains__)

    def contains(self, address: Address) -> bool:
        """Return True for a master or replica, and for a node that the store was given."""
        return address in self._nodes or address in self._seeds

    def postpone(self, address: Address) -> None:
        """Ask a node that did not answer after the others, until it has answered."""
        self._failed.add(address)

    def move(self, slot: int, owner: Address) -> None:
        """Note that a slot belongs to another node, as a node has said."""
        self.is_stale = True
        if self._slots[slot] != owner:
            self._slots[slot] = owner
            self._changed()

    def update(self, answer: Any, asked: Address) -> bool:
        """Note what a node has answered to CLUSTER SLOTS.

        Args:
            answer: The answer.
            asked: The node, which may leave out its own host.

        Returns:
            False if the answer is not one to this command; then nothing is changed.
        """
        slots: list[Address | None] = [None] * SLOTS
        nodes: dict[Address, None] = {}
        try:
            for first, last, *servers in answer:
                if not 0 <= first <= last < SLOTS:
                    return False
                addresses = [node_address(host, port, asked) for host, port, *_ in servers]
                slots[first : last + 1] = [addresses[0]] * (last + 1 - first)
                nodes.update(dict.fromkeys(addresses))
        except (TypeError, ValueError, IndexError):
            return False
        self._nodes = list(nodes)
        self._failed &= {*nodes, *self._seeds} - {asked}
        self.is_stale = False
        if slots != self._slots:
            self._slots = slots
            self._changed()
        return True

    def _changed(self) -> None:
        self.version += 1
        owners: Iterable[Address | None] = dict.fromkeys(self._slots)
        self.masters = sorted(owner for owner in owners if owner is not None)


def node_address(host: bytes | str | None, port: int, asked: Address) -> Address:
    """Return where a node is that another one has named, which leaves out its own host."""
    name = host.decode() if isinstance(host, bytes) else host
    return Address(asked.host if name in (None, "", "?") else str(name), int(port))
