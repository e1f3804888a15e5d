"""An event loop whose time is simulated, and whose callbacks belong to simulated processes."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Any, TypeVarTuple

from kvwrap.testing.lab.process import Step, current_process

_Ts = TypeVarTuple("_Ts")


class Stuck(AssertionError):
    """Every task waits, and nothing can wake one."""


class _Waits(selectors.SelectSelector):
    """Waits for nothing: moves the time to when the loop wants to be woken."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise Stuck("every task waits, and no timer or message can wake one")
        self.now += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that never waits: when nothing is ready, its time moves to the next timer.

    Callbacks, timers and steps of tasks belong to the process in whose context they were
    scheduled. Those of a paused process are held until it resumes, and those of a killed one
    never run. Everything happens in one thread: what waits for another thread, or for a socket,
    waits for ever.
    """

    def __init__(self) -> None:
        self._waits = _Waits()
        super().__init__(self._waits)

    def time(self) -> float:
        """Return the simulated seconds since the loop was created."""
        return self._waits.now

    def call_soon(
        self, callback: Callable[[*_Ts], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        step = _step(callback, args, context)
        if step is None:
            return super().call_soon(callback, *args, context=context)
        step.handle = super().call_soon(step.run, context=step.context)
        return step.handle

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Ts], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        step = _step(callback, args, context)
        if step is None:
            return super().call_at(when, callback, *args, context=context)
        step.handle = handle = super().call_at(when, step.run, context=step.context)
        return handle


def _step(
    callback: Callable[..., object], args: tuple[Any, ...], context: Context | None
) -> Step | None:
    """Return the callback as a step of the process in whose context it runs, if there is one."""
    process = current_process.get() if context is None else context.get(current_process)
    if process is None or getattr(callback, "__func__", None) is Step.run:
        return None
    return Step(process, callback, args, copy_context() if context is None else context)
