"""Tools for tests: contract suites for stores and layers, a manual clock, fault injection, servers.

Names that need pytest are imported when they are first accessed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kvwrap.testing.clock import ManualClock
from kvwrap.testing.servers import RedisServer

if TYPE_CHECKING:
    from kvwrap.layers.chaos import Chaos
    from kvwrap.testing.contract.layer import LayerContract
    from kvwrap.testing.contract.store import StoreContract
    from kvwrap.testing.tap import Tap, corruptions

__all__ = [
    "Chaos",
    "LayerContract",
    "ManualClock",
    "RedisServer",
    "StoreContract",
    "Tap",
    "corruptions",
]

_LAZY = {
    "Chaos": "kvwrap.layers.chaos",
    "LayerContract": "kvwrap.testing.contract.layer",
    "Tap": "kvwrap.testing.tap",
    "corruptions": "kvwrap.testing.tap",
    "StoreContract": "kvwrap.testing.contract.store",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
