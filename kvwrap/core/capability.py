"""Capabilities: the abilities of a store beyond get, put and delete."""

from __future__ import annotations

from enum import StrEnum


class Capability(StrEnum):
    """One ability of a store; `store.capabilities` is the set that it really has."""

    KEYS = "keys"
    """Keys can be enumerated: `keys`, `scan`, `items`, `count`, `delete_where`."""
    RANGE = "range"
    """Keys are enumerated in the order of their code points, and from `start` to `end`."""
    COLLECTIONS = "collections"
    """Collections can be enumerated."""
    COMPARE_AND_PUT = "compare_and_put"
    """Writes can depend on a version: `compare_and_put`, `put_if_absent`, `increment`."""
    DESTROY_COLLECTION = "destroy_collection"
    """A whole collection can be dropped."""
    DESTROY = "destroy"
    """Everything the store holds can be dropped, and nothing else."""
    CULL = "cull"
    """Expired entries can be removed on request."""
    WATCH = "watch"
    """Changes are told, through whatever process they are made: `watch`."""
    NATIVE_TTL = "native_ttl"
    """The backend removes expired entries automatically."""
    PERSISTENT = "persistent"
    """Entries survive the end of the process."""
    SHARED = "shared"
    """Several processes see the same entries."""


Capabilities = frozenset[Capability]
"""A set of capabilities."""

OPERATIONS: Capabilities = frozenset(
    {
        Capability.KEYS,
        Capability.RANGE,
        Capability.COLLECTIONS,
        Capability.COMPARE_AND_PUT,
        Capability.DESTROY,
        Capability.DESTROY_COLLECTION,
        Capability.CULL,
    }
)
"""The operations that a store has if it holds entries where it can list and compare them.

`WATCH` is an operation too, and the others are properties of the stored entries.
"""
