"""Run concurrent calls in every order in which they can be served, one after the other.

A gated store stops each of its calls before and after the moment at which it takes
effect. A schedule is a sequence of choices: which of the waiting calls goes on next. All
schedules of a scenario are tried by running it again and again, each time with another
choice at the last position where one remains; or many of them are tried at random.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from kvwrap import MemoryStore, StoreUnavailable
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import KeyRange


class Stage:
    """The calls that wait at a gate, in the order of their arrival."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, asyncio.Future[None]]] = []
        self.is_open = False

    async def gate(self, label: str) -> None:
        if self.is_open:
            return
        waiter = (label, asyncio.get_running_loop().create_future())
        self.waiting.append(waiter)
        try:
            await waiter[1]
        finally:
            if waiter in self.waiting:
                self.waiting.remove(waiter)

    def open(self) -> None:
        self.is_open = True
        for _, future in self.waiting:
            if not future.done():
                future.set_result(None)
        self.waiting.clear()


async def settle() -> None:
    """Let every task run as far as it can."""
    loop = asyncio.get_running_loop()
    call_soon = loop.call_soon
    scheduled = 0

    def counted(*arguments: Any, **options: Any) -> asyncio.Handle:
        nonlocal scheduled
        scheduled += 1
        return call_soon(*arguments, **options)

    loop.call_soon = counted  # type: ignore[assignment,method-assign]  # every task uses it
    try:
        await asyncio.sleep(0)
        # The loop runs callbacks in their order. A turn in which this task alone was scheduled
        # leaves none behind.
        while scheduled > 1:
            scheduled = 0
            await asyncio.sleep(0)
    finally:
        loop.call_soon = call_soon  # type: ignore[method-assign]


class GatedStore(MemoryStore):
    """A memory store whose calls wait at gates.

    Args:
        stage: Where they wait.
        role: Name of the store in the labels of its gates.
        before: The calls that wait before they take effect.
        after: The calls that wait afterwards.
        failing: Calls that raise once instead of going on: `"write"` before the effect,
            `"write!"` after it.
    """

    def __init__(
        self,
        stage: Stage,
        role: str,
        before: str = "",
        after: str = "",
        failing: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.stage = stage
        self.role = role
        self.before = before.split()
        self.after = after.split()
        self.failing = list(failing)
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self.on_effect: Callable[[str, Sequence[str], Any], None] = lambda *_: None

    async def _do(self, call: str, keys: Sequence[str], effect: Awaitable[Any], data: Any) -> Any:
        self.calls.append((call, tuple(keys)))
        try:
            if call in self.before:
                await self.stage.gate(f"{self.role}.{call} request")
            self._fail(call)
        except BaseException:
            effect.close()  # type: ignore[attr-defined]  # a coroutine
            raise
        result = await effect
        self.on_effect(call, keys, data)
        if call in self.after:
            await self.stage.gate(f"{self.role}.{call} answer")
        self._fail(call + "!")
        return result

    def _fail(self, what: str) -> None:
        if what in self.failing:
            self.failing.remove(what)
            raise StoreUnavailable(f"{what} fails", store=self.role)

    async def read(self, collection: Any, keys: Sequence[str]) -> list[Entry | None]:
        effect = super().read(collection, keys)
        return await self._do("read", keys, effect, None)

    async def write(
        self, collection: Any, keys: Sequence[str], entries: Any, expected: Any = None
    ) -> list[bool]:
        effect = super().write(collection, keys, entries, expected)
        return await self._do("write", keys, effect, entries)

    async def remove(
        self, collection: Any, keys: Sequence[str], expected: Any = None
    ) -> list[bool]:
        effect = super().remove(collection, keys, expected)
        return await self._do("remove", keys, effect, None)

    async def drop(self, collection: Any) -> bool:
        self.calls.append(("drop", ()))
        if "drop" in self.before:
            await self.stage.gate(f"{self.role}.drop request")
        self._fail("drop")
        dropped = (await super().list_keys(collection, KeyRange(), None)).keys
        await super().remove(collection, dropped)  # not `drop`, which calls the gated `remove`
        self.on_effect("remove", dropped, None)
        if "drop" in self.after:
            await self.stage.gate(f"{self.role}.drop answer")
        self._fail("drop!")
        return bool(dropped)

    async def drop_all(self) -> bool:
        return await self.drop(None)


class World:
    """One run of a scenario. Subclasses make the stores, and actors that act upon them."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.cancellable: dict[str, asyncio.Task[Any]] = {}

    async def begin(self) -> None:
        """Bring the stores into their initial state, before there are gates."""

    def actors(self) -> dict[str, Callable[[], Awaitable[None]]]:
        """Return the concurrent actions by name; one with `?` in its name may be cancelled."""
        raise NotImplementedError

    async def end(self) -> None:
        """Check what must hold when all actions have ended."""


Chooser = Callable[[int], int]


async def play(world: World, choose: Chooser) -> list[str]:
    """Run a scenario with these choices. Returns its gates in the order they were passed."""
    await world.begin()
    tasks: dict[str, asyncio.Task[None]] = {}

    async def act(name: str, actor: Callable[[], Awaitable[None]]) -> None:
        await world.stage.gate(f"{name} begins")
        await actor()

    for name, actor in world.actors().items():
        tasks[name] = asyncio.get_running_loop().create_task(act(name, actor))
    passed: list[str] = []
    try:
        await _pass_gates(world, tasks, choose, passed)
        for name, task in tasks.items():
            assert task.done(), f"{name} hangs"
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error
        world.stage.open()
        await world.end()
    except AssertionError as error:
        raise AssertionError("\n".join([str(error), "in this order:", *passed])) from error
    finally:
        # An actor that is cancelled when its loop ends would wait at further gates for ever.
        world.stage.open()
    return passed


async def _pass_gates(
    world: World, tasks: dict[str, asyncio.Task[None]], choose: Chooser, passed: list[str]
) -> None:
    """Let the waiting calls go on, one after the other. Adds the gates to `passed`."""
    cancelled: set[str] = set()
    while True:
        await settle()
        waiting = list(world.stage.waiting)
        if not waiting:
            break
        begun = {label.split()[0] for label, _ in waiting if label.endswith("begins")}
        cancels = [
            name
            for name, task in tasks.items()
            if "?" in name and name not in cancelled and not task.done() and name not in begun
        ]
        choice = choose(len(waiting) + len(cancels))
        if choice < len(waiting):
            label, future = waiting[choice]
            world.stage.waiting.remove(waiting[choice])
            passed.append(label)
            future.set_result(None)
        else:
            name = cancels[choice - len(waiting)]
            cancelled.add(name)
            passed.append(f"{name} is cancelled")
            tasks[name].cancel()


def orders() -> Iterator[Chooser]:
    """Yield choosers for `play`, one by one, that together make every sequence of choices."""
    script: list[int] = []
    while True:
        choices: list[tuple[int, int]] = []

        def choose(options: int, script: list[int] = script, choices: Any = choices) -> int:
            step = len(choices)
            choice = script[step] if step < len(script) else 0
            choices.append((choice, options))
            return choice

        yield choose
        while choices and choices[-1][0] + 1 == choices[-1][1]:
            choices.pop()
        if not choices:
            return
        script = [choice for choice, _ in choices]
        script[-1] += 1


async def every_order(make: Callable[[], World], at_most: int = 20_000) -> int:
    """Play all schedules of a scenario. Returns their number."""
    count = 0
    for choose in orders():
        count += 1
        assert count <= at_most, "too many orders to try them all"
        await play(make(), choose)
    return count


async def some_orders(make: Callable[[], World], seed: int, count: int) -> None:
    """Play `count` schedules of a scenario at random."""
    rng = random.Random(seed)
    for _ in range(count):
        await play(make(), rng.randrange)
