"""Single calls of one event-loop turn, sent as batches."""

from kvwrap.layers.coalesce.layer import Coalesce

__all__ = ["Coalesce"]
