"""Request batching: concurrent single-key calls are sent as batches."""

from kvwrap.layers.coalesce.layer import Coalesce

__all__ = ["Coalesce"]
