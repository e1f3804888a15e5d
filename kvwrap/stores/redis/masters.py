"""The masters of a cluster, as one of its nodes sees them."""

from __future__ import annotations

from typing import Any, NamedTuple

from kvwrap.errors import StoreUnavailable
from kvwrap.stores.redis.topology import node_address
from kvwrap.stores.shared.urls import Address


class Masters(NamedTuple):
    """What a node answers about the masters.

    Attributes:
        own: The node's own identity; empty if it is no master.
        addresses: The masters by their identities, also those without slots, which may get some.
        is_settled: False while a failed master still has slots, so that another node may take its
            place at any moment.
    """

    own: str
    addresses: dict[str, Address]
    is_settled: bool


def parse_masters(nodes: Any, slots: Any, asked: Address | None) -> Masters:
    """Return the masters in the answers to CLUSTER NODES and CLUSTER SLOTS.

    Args:
        nodes: The answer to CLUSTER NODES.
        slots: The answer to CLUSTER SLOTS, which has the addresses for clients. That to CLUSTER
            NODES has those of other nodes, which count for masters without slots.
        asked: The node that answered; None if the addresses do not matter.

    Raises:
        StoreUnavailable: The answers are none to these commands.
    """
    own, is_settled = "", True
    addresses: dict[str, Address] = {}
    try:
        preferred = {master[2].decode(): master[:2] for _, _, master, *_ in slots}
        for line in nodes.decode().splitlines():
            identity, place, flags, *others = line.split(" ")
            known = set(flags.split(","))
            if "master" not in known or known & {"handshake", "noaddr"}:
                continue
            if "fail" in known:
                is_settled = is_settled and not others[5:]
                continue
            if "myself" in known:
                own = identity
            host, _, port = place.partition("@")[0].rpartition(":")
            host, port = preferred.get(identity, (host, port))
            addresses[identity] = (
                Address(host, int(port)) if asked is None else node_address(host, int(port), asked)
            )
    except (AttributeError, TypeError, ValueError, IndexError):
        raise StoreUnavailable(
            "a node of a cluster must answer to CLUSTER NODES as its protocol says: check that "
            "this is a cluster, and what is between"
        ) from None
    return Masters(own, addresses, is_settled)
