"""Figures as JSON, for programs outside of the process."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

from kvwrap.core.figures import collect, merged


class Chain:
    """A layer and what is under it, as `collect` sees a store.

    Args:
        outermost: The layer.
    """

    usage = ()

    def __init__(self, outermost: Any) -> None:
        parts, part = [], outermost
        while part is not None:
            parts.append(part)
            part = getattr(part, "below", None)
        self.parts: Sequence[Any] = parts


def describe(store: Any, seconds: float | None = None) -> dict[str, Any]:
    """Return what a store, its layers and its second stores have counted.

    May be called from any thread.

    Args:
        store: The store, or a `Chain`.
        seconds: Seconds for which it has been counting, if known.
    """
    samples = merged(collect(store))
    return {
        "format": 1,
        "process": os.getpid(),
        "time": time.time(),
        "seconds": seconds,
        "parts": [part.name for part in store.parts],
        "figures": [
            {
                "stack": sample.stack,
                "layer": sample.layer,
                "name": sample.figure.name,
                "kind": sample.figure.kind,
                "unit": sample.figure.unit,
                "labels": dict(zip(sample.figure.labels, sample.labels)),
                "value": (
                    {"seconds": sample.value.seconds, "buckets": sample.value.buckets}
                    if sample.figure.kind == "histogram"
                    else sample.value
                ),
            }
            for sample in samples
        ],
    }
