"""Another store that answers while the inner one fails."""

from kvwrap.layers.fallback.layer import Fallback, FallbackSnapshot

__all__ = ["Fallback", "FallbackSnapshot"]
