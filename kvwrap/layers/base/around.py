"""Base class of layers that do the same around every operation."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, Self, TypeVar

import msgspec

from kvwrap.core.layer import Layer
from kvwrap.core.primitives import CALLS, Collection, Expected, Primitives

T = TypeVar("T")

_Operation = Callable[..., Coroutine[Any, Any, T]]
_WITH_KEYS = frozenset({"read", "write", "remove", "touch"})
_EXPECTED_INDEX = {"write": 3, "remove": 2}


class Call(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """One call of a primitive.

    Attributes:
        operation: Name of the primitive.
        forward: The same primitive of the next part.
        arguments: All arguments of the primitive, by position.
    """

    operation: str
    forward: _Operation[T]
    arguments: tuple[Any, ...] = ()

    def __call__(self) -> Coroutine[Any, Any, T]:
        """Make the call. May be repeated for another attempt."""
        return self.forward(*self.arguments)

    @property
    def collection(self) -> Collection:
        """The collection of the call; `None` also for an operation without a collection."""
        return self.arguments[0] if self.arguments else None

    @property
    def keys(self) -> Sequence[str]:
        """The keys of the call; empty for an operation without keys."""
        return self.arguments[1] if self.operation in _WITH_KEYS else ()

    @property
    def expected(self) -> Sequence[Expected] | None:
        """The versions that a conditional `write` or `remove` expects, otherwise `None`."""
        index = _EXPECTED_INDEX.get(self.operation, 0)
        return self.arguments[index] if 0 < index < len(self.arguments) else None

    def __repr__(self) -> str:
        return f"<{self.operation} of {len(self.keys)} keys in {self.collection!r}>"


class Around(Layer):
    """A layer that implements only `around`, which every primitive of `CALLS` passes through.

    `subscribe` does not, since its subscription goes on after the call.
    A primitive that a subclass implements itself does not pass through `around`.
    """

    async def around(self, call: Call[T]) -> T:
        """Make the call, repeat it or skip it, and return its result.

        Args:
            call: The call. `await call()` makes it.
        """
        return await call()

    def bind(self, inner: Primitives) -> Self:
        part = super().bind(inner)
        for name in CALLS:
            if getattr(type(part), name) is getattr(Layer, name):
                setattr(part, name, _wrap(part.around, name, getattr(inner, name)))
        return part


def _wrap(
    around: Callable[[Call[T]], Coroutine[Any, Any, T]], operation: str, forward: _Operation[T]
) -> _Operation[T]:
    # A closure for each primitive, made once. A method that looks all this up, and an object
    # with an `__init__` written in Python, took two thirds longer for every call.
    def primitive(*arguments: Any) -> Coroutine[Any, Any, T]:
        return around(Call(operation, forward, arguments))

    return primitive
