"""A memory store that fails, refuses or waits when a test says so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from kvwrap import MemoryStore, StoreUnavailable
from kvwrap.core.primitives import PRIMITIVES


class FaultyStore(MemoryStore):
    """As `MemoryStore`, with every primitive counted and under the test's control.

    Attributes:
        down: Raised by every call while it is set; `True` raises `StoreUnavailable`.
        refuse: Keys whose write raises the error they stand for.
        gate: Calls wait for it while it is cleared.
        calls: The calls begun, as (primitive, collection, keys).
        done: Those that ended well.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.down: bool | BaseException = False
        self.refuse: dict[str, Exception] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.calls: list[tuple[str, Any, tuple[str, ...]]] = []
        self.done: list[tuple[str, Any, tuple[str, ...]]] = []
        self.fail_next = 0

    async def _controlled(self, name: str, arguments: tuple[Any, ...]) -> Any:
        about_keys = name in ("read", "write", "remove", "touch")
        call = (
            name,
            arguments[0] if arguments else None,
            tuple(arguments[1]) if about_keys else (),
        )
        self.calls.append(call)
        await self.gate.wait()
        if self.fail_next:
            self.fail_next -= 1
            raise StoreUnavailable("down for this call", store="faulty")
        if isinstance(self.down, BaseException):
            raise self.down
        if self.down:
            raise StoreUnavailable("down", store="faulty")
        if name == "write":
            for key in call[2]:
                if key in self.refuse:
                    raise self.refuse[key]
        answer = await getattr(super(), name)(*arguments)
        self.done.append(call)
        return answer

    def count(self, name: str) -> int:
        """How many calls of a primitive were begun."""
        return sum(call[0] == name for call in self.calls)

    def written(self) -> list[str]:
        """The keys written, in order."""
        return [key for name, _, keys in self.done if name == "write" for key in keys]


def _controls(name: str) -> Any:
    async def primitive(self: FaultyStore, *arguments: Any) -> Any:
        return await self._controlled(name, arguments)

    return primitive


for _name in PRIMITIVES:
    setattr(FaultyStore, _name, _controls(_name))


async def settle(turns: int = 50) -> None:
    """Let other tasks run."""
    for _ in range(turns):
        await asyncio.sleep(0)


def names(count: int, stem: str = "k") -> Sequence[str]:
    return [f"{stem}{number}" for number in range(count)]
