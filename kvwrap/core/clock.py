"""Clocks: the time that stores and layers use, replaceable in tests."""

from __future__ import annotations

import asyncio
import time as _time
from typing import Protocol

from kvwrap.errors import ConfigurationError


class Clock(Protocol):
    """The time source of a store and its layers."""

    def time(self) -> float:
        """Return seconds since 1970-01-01 UTC, used to date entries."""

    def monotonic(self) -> float:
        """Return seconds that never run backwards, used to measure waits and latencies."""

    async def sleep(self, seconds: float) -> None:
        """Return after this many seconds of this clock."""


class SystemClock:
    """The machine's clock."""

    time = staticmethod(_time.time)
    monotonic = staticmethod(_time.perf_counter)
    sleep = staticmethod(asyncio.sleep)

    def __repr__(self) -> str:
        return "SystemClock()"


SYSTEM_CLOCK: Clock = SystemClock()


def checked_clock(clock: object) -> Clock:
    """Return the clock, or the machine's clock for None.

    Raises:
        ConfigurationError: The object lacks a method of `Clock`.
    """
    if clock is None:
        return SYSTEM_CLOCK
    for method in ("time", "monotonic", "sleep"):
        if not callable(getattr(clock, method, None)):
            raise ConfigurationError(
                "`clock` must have the methods time, monotonic and sleep; "
                f"{type(clock).__name__} has no {method}"
            )
    return clock  # type: ignore[return-value]  # checked method by method above
