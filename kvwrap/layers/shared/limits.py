"""What the layers say that make operations wait for their turn."""

from __future__ import annotations

from kvwrap.core.figures import counter, gauge

LIMIT_FIGURES = (
    gauge("limit.waiting", "{call}", "Calls that wait for their turn."),
    counter("limit.waits", "{call}", "Calls that had to wait for their turn."),
    counter("limit.rejected", "{call}", "Calls rejected, since they would wait too long."),
)
"""The figures of a layer with the attributes `waiting`, `waits` and `rejected`."""
