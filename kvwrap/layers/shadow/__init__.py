"""Traffic mirrored to a second store, for a migration."""

from kvwrap.layers.shadow.layer import Shadow, ShadowSnapshot

__all__ = ["Shadow", "ShadowSnapshot"]
