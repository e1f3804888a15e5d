"""Keys distributed over several stores by rendezvous hashing."""

from kvwrap.layers.sharding.layer import Sharding

__all__ = ["Sharding"]
