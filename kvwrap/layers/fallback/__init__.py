"""A second store that answers while the inner one is unavailable."""

from kvwrap.layers.fallback.layer import Fallback
from kvwrap.layers.fallback.snapshot import FallbackSnapshot

__all__ = ["Fallback", "FallbackSnapshot"]
