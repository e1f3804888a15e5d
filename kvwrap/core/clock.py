"""Time as the stores and layers see it, passed in so that tests can hold it still."""

from __future__ import annotations

import asyncio
import time as _time
from typing import Protocol

from kvwrap.errors import ConfigurationError


class Clock(Protocol):
    """Where a store and its layers take the time from."""

    def time(self) -> float:
        """Seconds since 1970-01-01 UTC: what entries are dated with."""

    def monotonic(self) -> float:
        """Seconds that never run backwards: what waits and latencies are measured with."""

    async def sleep(self, seconds: float) -> None:
        """Come back after so many seconds of this clock."""


class SystemClock:
    """The machine's own clock."""

    time = staticmethod(_time.time)
    monotonic = staticmethod(_time.perf_counter)
    sleep = staticmethod(asyncio.sleep)

    def __repr__(self) -> str:
        return "SystemClock()"


SYSTEM_CLOCK: Clock = SystemClock()


def checked_clock(clock: object) -> Clock:
    """The clock, or the machine's for None; raises `ConfigurationError` for what is none."""
    if clock is None:
        return SYSTEM_CLOCK
    if not all(callable(getattr(clock, name, None)) for name in ("time", "monotonic", "sleep")):
        raise ConfigurationError(
            f"a clock has the methods time, monotonic and sleep, unlike {type(clock).__name__}"
        )
    return clock  # type: ignore[return-value]  # checked method by method above
