"""Entries in a key-value bucket of NATS JetStream."""

from kvwrap.stores.nats.store import NATSStore

__all__ = ["NATSStore"]
