"""The kind of layer that does the same around every operation."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, Self, TypeVar

import msgspec

from kvwrap.core.layer import Layer
from kvwrap.core.primitives import PRIMITIVES, Collection, Expected, Primitives

T = TypeVar("T")

_Operation = Callable[..., Coroutine[Any, Any, T]]
_OF_KEYS = frozenset({"read", "write", "remove", "touch"})


class Call(msgspec.Struct, Generic[T], frozen=True, gc=False):
    """One operation on its way inwards.

    Attributes:
        operation: The primitive's name.
        forward: What does it: the next part's primitive.
        arguments: All arguments of the primitive, by position.
    """

    operation: str
    forward: _Operation[T]
    arguments: tuple[Any, ...] = ()

    def __call__(self) -> Coroutine[Any, Any, T]:
        """Do it; may be called again, for another attempt."""
        return self.forward(*self.arguments)

    @property
    def collection(self) -> Collection:
        """The collection concerned, `None` also where no one collection is."""
        return self.arguments[0] if self.arguments else None

    @property
    def keys(self) -> Sequence[str]:
        """The keys concerned, empty where the operation is not about keys."""
        return self.arguments[1] if self.operation in _OF_KEYS else ()

    @property
    def expected(self) -> Sequence[Expected] | None:
        """What a conditional `write` or `remove` expects, else `None`."""
        place = {"write": 3, "remove": 2}.get(self.operation, 0)
        return self.arguments[place] if 0 < place < len(self.arguments) else None

    def __repr__(self) -> str:
        return f"<{self.operation} of {len(self.keys)} keys in {self.collection!r}>"


class Around(Layer):
    """A layer that states only `around`, which surrounds every primitive alike.

    A primitive that a subclass states as well is not surrounded.
    """

    async def around(self, call: Call[T]) -> T:
        """Do the call, or not, or again; give back what it gives."""
        return await call()

    def bind(self, inner: Primitives) -> Self:
        part = super().bind(inner)
        for name in PRIMITIVES:
            if getattr(type(part), name) is getattr(Layer, name):
                setattr(part, name, _surrounded(part.around, name, getattr(inner, name)))
        return part


def _surrounded(
    around: Callable[[Call[T]], Coroutine[Any, Any, T]], operation: str, forward: _Operation[T]
) -> _Operation[T]:
    # A closure for each primitive, made once: a method that looks all this up, and an object
    # with an `__init__` of Python's, cost two thirds more at every call.
    def surrounded(*arguments: Any) -> Coroutine[Any, Any, T]:
        return around(Call(operation, forward, arguments))

    return surrounded
