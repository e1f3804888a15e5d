"""For authors of stores and layers: contracts to subclass, a clock to move by hand, servers."""

from __future__ import annotations

from kvwrap.testing.clock import ManualClock
from kvwrap.testing.servers import RedisServer

__all__ = ["ManualClock", "RedisServer"]
