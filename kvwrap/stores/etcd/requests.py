"""Requests to etcd, as the fields of their messages: the driver makes these in one step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kvwrap.stores.etcd.protocol import COMPARE_LEASE, COMPARE_REVISION

Fields = Mapping[str, Any]


def end_of(prefix: bytes) -> bytes:
    """Return the end of the range of the keys with a prefix, which is UTF-8 and not empty."""
    return prefix[:-1] + bytes((prefix[-1] + 1,))


def fenced(fence: bytes, revision: int, operations: Sequence[Fields]) -> Fields:
    """Return a transaction that carries out operations if the fence has a revision."""
    return {
        "compare": [{"target": COMPARE_REVISION, "key": fence, "mod_revision": revision}],
        "success": operations,
        "failure": [{"request_range": {"key": fence, "keys_only": True}}],
    }


def conditional(key: bytes, revision: int, operation: Fields) -> Fields:
    """Return an operation that does another one if the key has a revision, and else reads it.

    Args:
        key: The key.
        revision: The revision of its last change; 0 if it must not exist.
        operation: The operation.
    """
    return {
        "request_txn": {
            "compare": [{"target": COMPARE_REVISION, "key": key, "mod_revision": revision}],
            "success": [operation],
            "failure": [{"request_range": {"key": key}}],
        }
    }


def unless_permanent(start: bytes, end: bytes) -> Fields:
    """Return a transaction that reads a range if any of its keys has a lease."""
    # Without transactions within it: one with these is written to the log, as if it changed keys.
    return {
        "compare": [{"target": COMPARE_LEASE, "key": start, "range_end": end}],
        "failure": [{"request_range": {"key": start, "range_end": end}}],
    }
