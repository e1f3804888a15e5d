"""A layer: the description of one behaviour, and that behaviour running over a store."""

from __future__ import annotations

from collections.abc import Collection as Names
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, ClassVar, Self

from kvwrap.core.basic import ValueHook
from kvwrap.core.capability import Capabilities
from kvwrap.core.clock import Clock
from kvwrap.core.entry import Entry
from kvwrap.core.findings import Finding, warn
from kvwrap.core.lifecycle import Lifecycle
from kvwrap.core.nested import Nested
from kvwrap.core.primitives import PRIMITIVES, Collection, Expected, KeyRange, Page, Primitives
from kvwrap.core.registry import as_store
from kvwrap.core.serializer import Serializer
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError, UnsupportedOperation


class Layer(Nested):
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
        finding_codes: Codes of the findings that this class can report. A subclass adds to those
            of its base class: `Base.finding_codes | {"my-code"}`.
        reserved: Collections of `inner` in which this layer keeps records of its own, and
            which it hides; `kvwrap.rewrite` has to go over them as well.
    """

    finding_codes: ClassVar[frozenset[str]] = frozenset()
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
        args, kwargs = self._constructor_arguments
        return _made, (type(self), args, kwargs, self.configured)

    # -- putting it over a store -------------------------------------------------------

    def over(self, store: Any) -> Store:
        """A store that behaves as `store` does, changed by this layer."""
        return LayeredStore(as_store(store), (self,))

    def bind(self, inner: Primitives) -> Self:
        """A fresh instance of this layer, at work over `inner`."""
        part = self.clone()
        part.inner = inner
        part.clock = inner.clock
        part.clear_second_stores()
        for name in PRIMITIVES:
            if getattr(type(part), name) is getattr(Layer, name):
                setattr(part, name, getattr(inner, name))
        try:
            part.on_bind()
        except BaseException:
            part.release()
            raise
        return part

    def on_bind(self) -> None:
        """Called once `inner` is known: the place to take second stores with `second`."""

    # -- what it says of itself --------------------------------------------------------

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

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        return await self.inner.list_keys(collection, key_range, cursor)

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


class LayeredStore(Store):
    """What `layer.over(store)` and `stack.over(store)` give.

    Args:
        under: The store to put layers over; its own layers, if it has any, stay in place
            with their state.
        layers: Descriptions, outermost first.
        silenced: Codes of findings that are meant.
    """

    def __init__(self, under: Store, layers: Sequence[Layer], *, silenced: Names[str] = ()) -> None:
        over = layers_of(under)
        part: Primitives = over[0] if over else under
        own: list[Layer] = []
        try:
            for layer in reversed(layers):
                part = running = layer.bind(part)
                own.insert(0, running)
            self._under = under
            self._base = under.base
            self._own = tuple(own)
            self._layers = (*own, *over)
            super().__init__(clock=under.clock, serializer=self._chosen(under.serializer))
            self.silenced = frozenset(silenced) | under.silenced
            self._findings = tuple(self._judged(self.silenced))
        except BaseException:
            for running in own:
                running.release()
            raise
        self.capabilities = part.capabilities
        for name in PRIMITIVES:
            setattr(self, name, getattr(part, name))
        self._on_put = tuple(hook for layer in self._layers if (hook := layer.put_hook))
        self._on_get = tuple(hook for layer in reversed(self._layers) if (hook := layer.get_hook))

    def _chosen(self, otherwise: Serializer) -> Serializer:
        named = [layer.serializer for layer in self._layers if layer.serializer is not None]
        if len(named) > 1:
            raise ConfigurationError(
                "a stack serializes a value once, and this one has several serialization layers: "
                "leave one"
            )
        return named[0] if named else otherwise

    def _judged(self, silenced: Names[str]) -> Iterator[Finding]:
        for place, layer in enumerate(self._layers):
            for finding in layer.findings(
                self._layers[:place], self._layers[place + 1 :], self._base
            ):
                if finding.fatal:
                    raise ConfigurationError(str(finding), store=layer.name)
                if finding.code in silenced:
                    continue
                if place < len(self._own):
                    warn(finding)
                yield finding

    @property
    def name(self) -> str:
        return self._base.name

    @property
    def base(self) -> Store:
        return self._base

    @property
    def layers(self) -> tuple[Layer, ...]:
        return self._layers

    @property
    def findings(self) -> tuple[Finding, ...]:
        return self._findings

    async def setup(self) -> None:
        """Open the store under the layers, then the layers from the inside out.

        What has been opened is closed again if one of them fails.
        """
        async with AsyncExitStack() as opened:
            for part in self._parts():
                await part.open()
                opened.push_async_callback(part.close)
            opened.pop_all()

    async def teardown(self) -> None:
        """Close the layers from the outside in, then the store under them."""
        async with AsyncExitStack() as closing:
            for part in self._parts():
                closing.push_async_callback(part.close)

    async def close(self) -> None:
        if not self.is_open and not self.is_closed:
            # Never opened as a whole: its parts may have opened themselves when used. Those
            # that somebody opened are that somebody's to close.
            async with AsyncExitStack() as closing:
                for part in self._parts():
                    if not part.users:
                        closing.push_async_callback(part.close)
        await super().close()

    def _parts(self) -> tuple[Lifecycle, ...]:
        return (self._under, *reversed(self._own))

    def __repr__(self) -> str:
        return " > ".join(repr(part) for part in (*self._layers, self._base))


def layers_of(store: Store) -> tuple[Layer, ...]:
    """The running layers over the backend, outermost first."""
    return tuple(part for part in store.layers if isinstance(part, Layer))
