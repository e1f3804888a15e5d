"""Entries kept in several stores, with read and write quorums."""

from kvwrap.layers.replication.layer import Replication
from kvwrap.layers.replication.snapshot import ReplicationSnapshot

__all__ = ["Replication", "ReplicationSnapshot"]
