"""For authors of stores and layers: contracts to subclass, and a clock to move by hand."""

from __future__ import annotations

from kvwrap.testing.clock import ManualClock

__all__ = ["ManualClock"]
