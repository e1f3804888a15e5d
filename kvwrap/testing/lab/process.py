"""A simulated process: tasks that are paused and killed together, with a clock of their own."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any

from kvwrap.testing.clock import START

current_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar(
    "current_process", default=None
)
"""The process that the running code belongs to; `None` for the scenario and the network."""


class Path(Enum):
    """How messages travel between a process and the far store."""

    UP = "up"
    CUT = "cut"
    """Both sides are told that the connection was lost."""
    SILENT = "silent"
    """Half-open: nothing arrives, and nobody is told."""


class LabClock:
    """The clock of a process. All count the seconds of the simulation alike.

    Args:
        loop: The event loop, whose time is simulated.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._skew = START
        self.monotonic: Callable[[], float] = loop.time

    def time(self) -> float:
        """Return the Unix time: seconds since 1970-01-01 UTC."""
        return self._skew + self.monotonic()

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back by `seconds`, as an administrator might."""
        self._skew += seconds

    @staticmethod
    async def sleep(seconds: float) -> None:
        """Return after this many simulated seconds."""
        await asyncio.sleep(seconds)


class Process:
    """A simulated process, whose tasks share a fate.

    Args:
        name: Its name in histories.
        loop: The event loop of the simulation.

    Attributes:
        clock: Its clock.
        calls: How its calls of the far store travel. Where the path is silent, they time out.
        link: How changes are told to it.
        on_cut: What is called when a connection is cut that tells changes.
        is_paused: True between `pause` and `resume`.
        is_killed: True after `kill`.
    """

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self.clock = LabClock(loop)
        self.calls = Path.UP
        self.link = Path.UP
        self.is_paused = False
        self.is_killed = False
        self.on_cut: list[Callable[[], object]] = []
        self._loop = loop
        self._held: list[Step] = []
        self.context = contextvars.copy_context()
        self.context.run(current_process.set, self)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run this in a task of the process."""
        return self._loop.create_task(work, context=self.context.copy())

    def pause(self) -> None:
        """Run nothing of the process until `resume`, as SIGSTOP does. What arrives is kept."""
        self.is_paused = True

    def resume(self) -> None:
        """Go on: what was due meanwhile runs now, late, in the order in which it was due."""
        self.is_paused = False
        held, self._held = self._held, []
        for step in held:
            self._loop.call_soon(step.run, context=step.context)

    def kill(self) -> None:
        """Run nothing of the process any more, as after SIGKILL. What it has sent still arrives."""
        self.is_killed = True

    def end(self) -> None:
        """Run what is left, once its tasks were cancelled at the end of the simulation."""
        self.is_killed = False
        self.resume()

    def cut_link(self) -> None:
        """Cut the connection that tells changes; the process notices."""
        self.link = Path.CUT
        for notice in self.on_cut:
            self._loop.call_soon(notice, context=self.context.copy())

    def hold(self, step: Step) -> None:
        """Keep a step until the process resumes."""
        self._held.append(step)

    def __repr__(self) -> str:
        return f"Process({self.name!r})"


class Step:
    """A callback of the event loop that runs only while its process does.

    Args:
        process: The process.
        callback: The callback.
        args: Its arguments.
        context: The context in which it runs.

    Attributes:
        handle: What the caller who scheduled it got, and may cancel.
    """

    __slots__ = ("_args", "_callback", "_process", "context", "handle")

    handle: asyncio.Handle

    def __init__(
        self,
        process: Process,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context,
    ) -> None:
        self._process = process
        self._callback = callback
        self._args = args
        self.context = context

    def run(self) -> None:
        """Run the callback, or hold it while the process does not run."""
        if self._process.is_paused or self._process.is_killed:
            self._process.hold(self)
        elif not self.handle.cancelled():  # by what ran first when the process resumed
            self._callback(*self._args)
