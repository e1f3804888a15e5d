"""Which node of a cluster has which keys, by what the nodes answer."""

from __future__ import annotations

from typing import Any

import pytest

from kvwrap.stores.redis.topology import SLOTS, Topology
from kvwrap.stores.shared.urls import Address

A, B, C = (Address("h", port) for port in (1, 2, 3))


def server(address: Address) -> list[Any]:
    return [address.host.encode(), address.port, b"id", []]


def test_slots_belong_to_the_first_server_of_their_range() -> None:
    topology = Topology([A])
    assert topology.is_stale
    assert topology.owner_of(0) is None
    answer = [[0, 99, server(B), server(C)], [100, SLOTS - 1, server(A)]]
    assert topology.update(answer, A)
    assert not topology.is_stale
    assert [topology.owner_of(slot) for slot in (0, 99, 100, SLOTS - 1)] == [B, B, A, A]
    assert topology.masters == [A, B]
    assert topology.contains(C)
    # The slot of a key is that of what is in braces.
    assert topology.slot_of("123456789") == 12739
    assert topology.slot_of("{123456789}x") == 12739


def test_the_version_changes_with_the_owners_only() -> None:
    topology = Topology([A])
    answer = [[0, SLOTS - 1, server(A)]]
    topology.update(answer, A)
    version = topology.version
    topology.update([[0, SLOTS - 1, server(A), server(B)]], A)
    assert topology.version == version
    topology.move(5, B)
    assert topology.version != version
    assert topology.is_stale
    assert topology.owner_of(5) == B


@pytest.mark.parametrize("host", [b"", None, b"?"])
def test_a_node_may_leave_out_its_own_host(host: bytes | None) -> None:
    topology = Topology([A])
    topology.update([[0, 5, [host, 7]]], A)
    assert topology.owner_of(5) == Address("h", 7)
    assert topology.owner_of(6) is None


@pytest.mark.parametrize(
    "answer",
    [None, 5, b"x", [5], [[1]], [[0, 5]], [["a", "b", server(A)]], [[0, 20_000, server(A)]]],
)
def test_what_is_no_description_changes_nothing(answer: Any) -> None:
    topology = Topology([A])
    topology.update([[0, SLOTS - 1, server(B)]], A)
    topology.is_stale = True
    assert not topology.update(answer, A)
    assert topology.is_stale
    assert topology.owner_of(3) == B


def test_a_node_that_did_not_answer_is_asked_last() -> None:
    topology = Topology([A])
    topology.update([[0, 5, server(B), server(C)]], A)
    assert topology.to_ask() == [B, C, A]
    topology.postpone(B)
    topology.update([[0, 5, server(B), server(C)]], C)
    assert topology.to_ask() == [C, A, B]
    topology.update([[0, 5, server(B), server(C)]], B)
    assert topology.to_ask() == [B, C, A]
