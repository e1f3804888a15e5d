"""The kind of layer that does the same around every operation."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from kvwrap.core.entry import Entry
from kvwrap.core.layer import Layer
from kvwrap.core.primitives import Collection, Expected, Page, Span

T = TypeVar("T")


class Call(Generic[T]):
    """One operation on its way inwards.

    Attributes:
        operation: The primitive's name.
        collection: The collection concerned, `None` also where no one collection is.
        keys: The keys concerned, empty where the operation is not about keys.
        arguments: All arguments of the primitive.
    """

    __slots__ = ("arguments", "collection", "forward", "keys", "operation")

    def __init__(
        self,
        operation: str,
        forward: Callable[..., Coroutine[Any, Any, T]],
        arguments: tuple[Any, ...] = (),
        collection: Collection = None,
        keys: Sequence[str] = (),
    ) -> None:
        self.operation = operation
        self.forward = forward
        self.arguments = arguments
        self.collection = collection
        self.keys = keys

    def __call__(self) -> Coroutine[Any, Any, T]:
        """Do it; may be called again, for another attempt."""
        return self.forward(*self.arguments)

    def __repr__(self) -> str:
        return f"<{self.operation} of {len(self.keys)} keys in {self.collection!r}>"


class Around(Layer):
    """A layer that states only `around`, which surrounds every primitive alike."""

    async def around(self, call: Call[T]) -> T:
        """Do the call, or not, or again; give back what it gives."""
        return await call()

    def read(
        self, collection: Collection, keys: Sequence[str]
    ) -> Coroutine[Any, Any, list[Entry | None]]:
        return self.around(Call("read", self.inner.read, (collection, keys), collection, keys))

    def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        arguments = (collection, keys, entries, expected)
        return self.around(Call("write", self.inner.write, arguments, collection, keys))

    def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> Coroutine[Any, Any, list[bool]]:
        arguments = (collection, keys, expected)
        return self.around(Call("remove", self.inner.remove, arguments, collection, keys))

    def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> Coroutine[Any, Any, list[bool]]:
        arguments = (collection, keys, expires)
        return self.around(Call("touch", self.inner.touch, arguments, collection, keys))

    def list_keys(
        self, collection: Collection, span: Span, cursor: object
    ) -> Coroutine[Any, Any, Page]:
        arguments = (collection, span, cursor)
        return self.around(Call("list_keys", self.inner.list_keys, arguments, collection))

    def list_collections(self) -> Coroutine[Any, Any, list[Collection]]:
        return self.around(Call("list_collections", self.inner.list_collections))

    def drop(self, collection: Collection) -> Coroutine[Any, Any, bool]:
        return self.around(Call("drop", self.inner.drop, (collection,), collection))

    def drop_all(self) -> Coroutine[Any, Any, bool]:
        return self.around(Call("drop_all", self.inner.drop_all))

    def sweep(self) -> Coroutine[Any, Any, None]:
        return self.around(Call("sweep", self.inner.sweep))

    def ping(self) -> Coroutine[Any, Any, None]:
        return self.around(Call("ping", self.inner.ping))
