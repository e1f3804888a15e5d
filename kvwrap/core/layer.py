"""A layer: the description of one behaviour, and that behaviour running over a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Annotated, Any, ClassVar, Self

from kvwrap.core.basic import BasicMethods, ValueHook
from kvwrap.core.capability import Capabilities
from kvwrap.core.clock import Clock
from kvwrap.core.described import Described
from kvwrap.core.entry import Entry
from kvwrap.core.findings import Finding
from kvwrap.core.layered import LayeredStore
from kvwrap.core.lifecycle import Lifecycle
from kvwrap.core.primitives import (
    PRIMITIVES,
    Collection,
    Expected,
    Page,
    Primitives,
    Span,
)
from kvwrap.core.registry import as_store
from kvwrap.core.serializer import Serializer
from kvwrap.core.store import Store
from kvwrap.errors import UnsupportedOperation

StoreSource = Annotated[Any, "a second store"]
"""A second store: a store, a factory of one, or an object that `kvwrap.adapt` takes.

A configuration knows by this annotation that an argument is a store.
"""


class Layer(Described, Lifecycle):
    """One behaviour of a stack; forwards everything that a subclass does not change.

    A subclass states the primitives that it changes (`read`, `write`, … , see
    `kvwrap.core.primitives`) and calls those of `self.inner`. What it leaves alone costs
    nothing: those calls go straight to the next part that cares. The arguments of the
    constructor are the description; every store that the layer is put over gets an
    instance of its own, made with the same arguments, so state made in the constructor
    is never shared.

    Attributes:
        inner: What this layer is over: another layer, or a store. It cannot tell which.
        clock: The store's clock.
        traits: What other layers and the findings may want to know of this one.
        reserved: Collections of `inner` in which this layer keeps records of its own, and
            which it hides; `kvwrap.rewrite` has to go over them as well.
    """

    traits: ClassVar[frozenset[str]] = frozenset()
    reserved: ClassVar[tuple[Collection, ...]] = ()
    inner: Primitives
    clock: Clock
    serializer: Serializer | None = None

    def __init__(self) -> None:
        pass

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name in ("get", "get_many", "ttl", "ttl_many", "put", "put_many", "delete"):
            if name in vars(cls):
                raise TypeError(
                    f"{cls.__name__}.{name} would never be called: a layer changes the primitives "
                    "(read, write, remove, …), of which all methods of a store are made"
                )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Layer) or type(other) is not type(self):
            return NotImplemented
        return self.arguments == other.arguments

    def __hash__(self) -> int:
        return hash((type(self), tuple(self.arguments)))

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy, pickled or not, is the description again: what runs stays where it runs.
        args, kwargs = self._given
        return _made, (type(self), args, kwargs, self.configured)

    # -- putting it over a store -------------------------------------------------------

    def over(self, store: Any) -> Store:
        """A store that behaves as `store` does, changed by this layer."""
        return LayeredStore(as_store(store), (self,))

    def running(self, inner: Primitives) -> Self:
        """A fresh instance of this layer, at work over `inner`."""
        part = self.anew()
        part.inner = inner
        part.clock = inner.clock
        part.__taken = []
        for name in PRIMITIVES:
            if getattr(type(part), name) is getattr(Layer, name):
                setattr(part, name, getattr(inner, name))
        try:
            part.bound()
        except BaseException:
            part.release()
            raise
        return part

    def bound(self) -> None:
        """Called once `inner` is known: the place to take second stores with `second`."""

    def second(self, role: str, source: StoreSource) -> Store:
        """A second store that this layer alone uses, opened and closed with the stack.

        Args:
            role: What it is to this layer, for `explain()`.
            source: A store, a factory of one, or what `kvwrap.adapt` takes.
        """
        store = as_store(source() if _is_factory(source) else source)
        store.claim()
        self.__taken.append((role, store, source))
        return store

    def release(self) -> None:
        """Give the second stores back, after a stack that was refused."""
        for _, store, _ in self.__taken:
            store.release()

    @property
    def second_stores(self) -> Sequence[tuple[str, Store]]:
        """The second stores of this layer, each with its role."""
        return [(role, store) for role, store, _ in self.__taken]

    @property
    def plain_arguments(self) -> dict[str, Any]:
        """The arguments but for those that second stores were made of."""
        sources = [source for _, _, source in self.__taken]
        return {k: v for k, v in self.arguments.items() if not _holds(v, sources)}

    # Mangled, since subclasses of all packages have private names of their own.
    __taken: list[tuple[str, Store, StoreSource]]

    # -- what it says of itself --------------------------------------------------------

    @property
    def name(self) -> str:
        """How errors and `explain()` call this layer."""
        return type(self).__name__

    @property
    def capabilities(self) -> Capabilities:
        """What the stack from here inwards can do."""
        return self.inner.capabilities

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        """What can be said against this layer's place, given the layers around it.

        Args:
            above: The layers outside this one, outermost first.
            below: The layers inside this one, outermost first.
            base: The backend.
        """
        return ()

    def notes(self) -> Iterable[str]:
        """Lines for `explain()`: what follows from this layer's place and is not in its name."""
        return ()

    def unsupported(self, what: str) -> UnsupportedOperation:
        """The error for what this layer makes impossible."""
        return UnsupportedOperation(f"{self.name} cannot {what}", store=self.name)

    # -- values, before they are bytes and after ---------------------------------------

    def on_put(self, value: Any, key: str, collection: Collection) -> Any:
        """The value to put in place of the user's; raises to refuse it."""
        return value

    def on_get(self, value: Any, key: str, collection: Collection) -> Any:
        """The value that the user gets in place of the stored one."""
        return value

    @property
    def put_hook(self) -> ValueHook | None:
        """`on_put`, if this layer changes it."""
        return None if type(self).on_put is Layer.on_put else self.on_put

    @property
    def get_hook(self) -> ValueHook | None:
        """`on_get`, if this layer changes it."""
        return None if type(self).on_get is Layer.on_get else self.on_get

    # -- opening and closing -----------------------------------------------------------

    async def setup(self) -> None:
        async with AsyncExitStack() as opened:
            for _, store, _ in self.__taken:
                await store.open()
                opened.push_async_callback(store.close)
            opened.pop_all()

    async def teardown(self) -> None:
        async with AsyncExitStack() as closing:
            for _, store, _ in self.__taken:
                closing.push_async_callback(store.close)

    async def close(self) -> None:
        if not self.is_open and not self.is_closed:
            # Never set up as a whole: its second stores may have opened themselves when used.
            async with AsyncExitStack() as closing:
                for _, store, _ in self.__taken:
                    if not store.users:
                        closing.push_async_callback(store.close)
        await super().close()

    # -- the primitives ----------------------------------------------------------------

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        return await self.inner.read(collection, keys)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return await self.inner.write(collection, keys, entries, expected)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        return await self.inner.remove(collection, keys, expected)

    async def touch(
        self, collection: Collection, keys: Sequence[str], expires: Sequence[float | None]
    ) -> list[bool]:
        return await self.inner.touch(collection, keys, expires)

    async def list_keys(self, collection: Collection, span: Span, cursor: object) -> Page:
        return await self.inner.list_keys(collection, span, cursor)

    async def list_collections(self) -> list[Collection]:
        return await self.inner.list_collections()

    async def drop(self, collection: Collection) -> bool:
        return await self.inner.drop(collection)

    async def drop_all(self) -> bool:
        return await self.inner.drop_all()

    async def sweep(self) -> None:
        await self.inner.sweep()

    async def ping(self) -> None:
        await self.inner.ping()


def _made(
    kind: type[Layer], args: tuple[Any, ...], kwargs: dict[str, Any], configured: Any
) -> Layer:
    made = kind(*args, **kwargs)
    made.configured = configured
    return made


def _is_factory(source: StoreSource) -> bool:
    return isinstance(source, type) or (callable(source) and not isinstance(source, BasicMethods))


def _holds(value: Any, sources: Sequence[StoreSource]) -> bool:
    if isinstance(value, Mapping):
        return _holds(list(value.values()), sources)
    if isinstance(value, list | tuple):
        return any(_holds(item, sources) for item in value)
    return any(value is source for source in sources)
