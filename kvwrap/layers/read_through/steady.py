"""Notices that the wall clock was set, on which the times of near copies depend."""

from __future__ import annotations

from typing import Final

from kvwrap.core.clock import Clock

_TOLERANCE: Final = 0.05
"""Seconds by which the two clocks may differ between two looks."""


class SteadyTime:
    """Compares the wall clock with the monotonic one.

    The times of copies are by the wall clock, so that a near store can keep them beyond the
    end of a process. If that clock is set back, they would be used for longer.

    Args:
        clock: The stack's clock.

    Attributes:
        earliest: The least difference of both clocks that is no sign of a set clock.
        latest: The greatest.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.earliest = self.latest = 0.0
        self._look()

    def _look(self) -> float:
        # A thread that is interrupted between the two calls sees too much.
        difference = min(-self._clock.monotonic() + self._clock.time() for _ in range(3))
        self.earliest, self.latest = difference - _TOLERANCE, difference + _TOLERANCE
        return difference

    def was_set_back(self) -> bool:
        """Return True if the wall clock was set back since the last look."""
        earliest = self.earliest
        return self._look() < earliest
