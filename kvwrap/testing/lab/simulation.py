"""A simulation: processes around a far store, and a network between them."""

from __future__ import annotations

import asyncio
import contextvars
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from kvwrap.stores.memory import MemoryStore
from kvwrap.testing.lab.far import FarStore
from kvwrap.testing.lab.history import History
from kvwrap.testing.lab.network import Network
from kvwrap.testing.lab.process import LabClock, Process

Main = Callable[[Process], Coroutine[Any, Any, object]]
Fault = Callable[["Lab", Process, float], Coroutine[Any, Any, None]]


class Lab:
    """One simulation: processes around a far store, with a network between them.

    Args:
        seed: Determines everything that is drawn at random.

    Attributes:
        rng: The source of randomness, for scenarios too.
        network: The delays and faults of messages.
        server: What is stored in the far store. The scenario may change it directly.
        history: What the processes recorded.
        processes: The processes that run, or are paused.
    """

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.network = Network(random.Random(self.rng.random()))
        self._loop = asyncio.get_running_loop()
        self._outside = contextvars.copy_context()
        self.clock = LabClock(self._loop)
        self.server = MemoryStore(clock=self.clock)
        self.history = History(self._loop.time)
        self.processes: list[Process] = []
        self._main: dict[Process, Main] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._error: BaseException | None = None

    @property
    def now(self) -> float:
        """The simulated seconds since the beginning."""
        return self._loop.time()

    def start(self, name: str, main: Main) -> Process:
        """Start a process: a task that runs `main(process)`, and every task that it begins."""
        process = Process(name, self._loop)
        self.processes.append(process)
        self._main[process] = main
        self._keep(process.spawn(main(process)))
        return process

    def far(self, process: Process) -> FarStore:
        """Return a store with which this process uses the far store."""
        return FarStore(process, self.server, self.network, self.spawn)

    def kill(self, process: Process) -> None:
        """Kill a process. Its open operations have not ended."""
        process.kill()
        self.processes.remove(process)
        self.history.killed[process.name] = self.now

    def restart(self, process: Process) -> Process:
        """Kill a process and start another one that does the same."""
        self.kill(process)
        name, _, number = process.name.partition("#")
        return self.start(f"{name}#{int(number or 1) + 1}", self._main[process])

    async def run(self, seconds: float, faults: Sequence[Fault] = (), every: float = 1.0) -> None:
        """Let the processes run, with faults.

        Args:
            seconds: For how many simulated seconds.
            faults: The faults to choose from.
            every: The mean time between faults, in seconds.

        Raises what a process raised.
        """
        end = self.now + seconds
        if faults:
            self.spawn(self._disturb(end, faults, every))
        await asyncio.sleep(seconds)
        if self._error is not None:
            raise self._error

    def end(self) -> None:
        """Cancel every task, those of killed processes too, so that none remains halfway."""
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        for process in self._main:
            process.end()

    async def _disturb(self, end: float, faults: Sequence[Fault], every: float) -> None:
        while True:
            pause = self.rng.expovariate(1 / every)
            if self.now + pause >= end or not self.processes:
                return
            await asyncio.sleep(pause)
            fault, process = self.rng.choice(faults), self.rng.choice(self.processes)
            self.spawn(fault(self, process, self.rng.expovariate(1 / every)))

    def spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run this outside of all processes, as the network does."""
        self._keep(self._loop.create_task(work, context=self._outside.copy()))

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and self._error is None:
            self._error = task.exception()
