"""A memory store whose calls fail, are refused or wait, as a test decides."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from kvwrap import MemoryStore, StoreUnavailable
from kvwrap.core.primitives import PRIMITIVES


class FaultyStore(MemoryStore):
    """A `MemoryStore` that records the calls of every primitive, and fails on request.

    Attributes:
        down: While set, every call raises it; `True` raises `StoreUnavailable`.
        write_errors: Errors by key. A write of such a key raises its error.
        gate: While it is cleared, calls wait.
        calls: The calls that began, as (primitive, collection, keys).
        completed: The calls that succeeded.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.down: bool | BaseException = False
        self.write_errors: dict[str, Exception] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.calls: list[tuple[str, Any, tuple[str, ...]]] = []
        self.completed: list[tuple[str, Any, tuple[str, ...]]] = []

    async def call(self, primitive: str, arguments: tuple[Any, ...]) -> Any:
        """Record the call, and make it unless it has to fail."""
        has_keys = primitive in ("read", "write", "remove", "touch")
        call = (
            primitive,
            arguments[0] if arguments else None,
            tuple(arguments[1]) if has_keys else (),
        )
        self.calls.append(call)
        await self.gate.wait()
        if isinstance(self.down, BaseException):
            raise self.down
        if self.down:
            raise StoreUnavailable("down", store="faulty")
        if primitive == "write":
            for key in call[2]:
                if key in self.write_errors:
                    raise self.write_errors[key]
        result = await getattr(super(), primitive)(*arguments)
        self.completed.append(call)
        return result

    def count(self, primitive: str) -> int:
        """Return the number of calls of a primitive that began."""
        return sum(call[0] == primitive for call in self.calls)

    def written(self) -> list[str]:
        """Return the keys that were written, in order."""
        return [key for name, _, keys in self.completed if name == "write" for key in keys]


def _controlled(name: str) -> Any:
    async def primitive(self: FaultyStore, *arguments: Any) -> Any:
        return await self.call(name, arguments)

    return primitive


for _name in PRIMITIVES:
    setattr(FaultyStore, _name, _controlled(_name))


def numbered_keys(count: int, prefix: str = "k") -> Sequence[str]:
    """Return keys such as "k0", "k1", "k2"."""
    return [f"{prefix}{number}" for number in range(count)]
