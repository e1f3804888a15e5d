"""Entries kept in several stores, with read and write quorums."""

from kvwrap.layers.replication.layer import Replication, ReplicationSnapshot

__all__ = ["Replication", "ReplicationSnapshot"]
