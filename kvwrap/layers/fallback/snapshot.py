"""State and counts of a `Fallback` layer."""

from __future__ import annotations

from typing import ClassVar

import msgspec

from kvwrap.core.figures import Measured, counter, gauge
from kvwrap.layers.shared.breaker import BreakerState


class FallbackSnapshot(Measured, msgspec.Struct, frozen=True):
    """State and counts of a `Fallback` layer since it was put over its store.

    Attributes:
        state: The circuit breaker's state: `open` or `half_open` in an outage.
        outages: How often the breaker has opened.
        fallback_reads: Number of keys, pages and lists of names that the other store answered.
        copy_failures: Number of copies that the other store did not take (`writes="both"` and
            `"journal"`).
        pending: Number of changes accepted in an outage and not sent to the inner store yet.
        replayed: Number of changes accepted in an outage and sent since.
        refused: Number of changes accepted in an outage that the inner store refused afterwards.
        damaged: Number of damaged changes found when the journal was opened, set aside too; a
            damaged file counts as one.
        in_doubt: Number of keys that the other store may have in an older state than was read
            before; the other store does not answer reads of them.
    """

    figures: ClassVar = (
        counter(
            "fallback.reads",
            "{key}",
            "Keys, pages and lists that the other store answered.",
            path="fallback_reads",
        ),
        counter("fallback.copy_failures", "{copy}", "Copies that the other store did not take."),
        gauge(
            "fallback.in_doubt", "{key}", "Keys that the other store may have in an older state."
        ),
    )
    state: BreakerState
    outages: int
    fallback_reads: int
    copy_failures: int
    pending: int = 0
    replayed: int = 0
    refused: int = 0
    damaged: int = 0
    in_doubt: int = 0
