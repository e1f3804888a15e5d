"""Layers: the description of a behaviour, and that behaviour running over a store."""

from __future__ import annotations

from collections.abc import Collection as Names
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AsyncExitStack
from typing import Any, ClassVar, Final, Self

from kvwrap.core.basic import ValueHook
from kvwrap.core.capability import Capabilities
from kvwrap.core.changes import Listener, Scope, Subscription
from kvwrap.core.clock import Clock
from kvwrap.core.described import is_secret
from kvwrap.core.entry import Entry
from kvwrap.core.findings import Finding, warn
from kvwrap.core.lifecycle import Lifecycle
from kvwrap.core.nested import Nested
from kvwrap.core.pickles import unprotected_pickle
from kvwrap.core.primitives import (
    PRIMITIVES,
    Collection,
    Expected,
    KeyRange,
    Origin,
    Page,
    Primitives,
)
from kvwrap.core.registry import as_store
from kvwrap.core.serializer import Serializer
from kvwrap.core.store import Store
from kvwrap.core.tagging import Tagging
from kvwrap.errors import ConfigurationError, UnsupportedOperation

_BOUND: Final = (*PRIMITIVES, "trace")
"""What a layer that does not change it binds through to the next part."""


class Layer(Nested):
    """One behaviour of a stack; forwards everything that a subclass does not change.

    A subclass implements the primitives that it changes (`read`, `write`, …, see
    `kvwrap.core.primitives`) and calls those of `self.inner`. Primitives that it does not
    change cost nothing: those calls go straight to the next part that implements them. If it
    changes `list_keys`, `remove` or `drop`, whole ranges are counted and deleted by what it
    has changed, unless it also implements `count_range` and `drop_range`. The arguments of the
    constructor are the description. Every store that the layer is put over gets its own instance
    with the same arguments, so state created in the constructor is never shared.

    Attributes:
        inner: The part under this layer: another layer or a store, which it cannot distinguish.
        below: The next part of the stack, where the layer has put a part of its own between.
        clock: The store's clock.
        serializer: The serializer of the stack's values, or `None` if the layer sets none.
        also_reads: Serializers of values that the stack reads besides, and never writes.
        traits: Names of properties that other layers and the findings look for.
        finding_codes: Codes of the findings that it can report: `Base.finding_codes | {"my-code"}`.
        reserved: Collections of `inner` with its own records, hidden; a rewrite includes them.
    """

    finding_codes: ClassVar[frozenset[str]] = frozenset()
    reserved: ClassVar[tuple[Collection, ...]] = ()
    inner: Primitives
    below: Primitives
    clock: Clock
    serializer: Serializer | None = None
    also_reads: Sequence[Serializer] = ()

    def __init__(self) -> None: ...

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name in ("get", "get_many", "ttl", "ttl_many", "put", "put_many", "delete"):
            if name in vars(cls):
                raise TypeError(
                    f"a layer must implement primitives (read, write, remove, …), from which all "
                    f"methods of a store are built; {cls.__name__}.{name} would never be called"
                )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Layer) or type(other) is not type(self):
            return NotImplemented
        return self.arguments == other.arguments

    def __hash__(self) -> int:
        return hash((type(self), tuple(self.arguments)))

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy, pickled or not, is a description again: running parts are not copied.
        if any(is_secret(name) for name, value in self.arguments.items() if value is not None):
            raise TypeError(
                f"{self.name} cannot be pickled, since it has a secret: build the stack in each "
                "process"
            )
        args, kwargs = self._constructor_arguments
        return _rebuild, (type(self), args, kwargs, self.configured)

    # -- putting it over a store -------------------------------------------------------

    def over(self, store: Any) -> Store:
        """Return a store that behaves like `store`, changed by this layer."""
        return LayeredStore(as_store(store), (self,))

    def bind(self, inner: Primitives) -> Self:
        """Return a new instance of this layer that runs over `inner`."""
        part = self.clone()
        part.inner = part.below = inner
        part.clock = inner.clock
        part.clear_second_stores()
        for name in _BOUND:
            if getattr(type(part), name) is getattr(Layer, name):
                setattr(part, name, getattr(inner, name))
        try:
            part.on_bind()
        except BaseException:
            part.release()
            raise
        return part

    def on_bind(self) -> None:
        """Prepare the running instance; `inner` is set. Call `second` here for second stores."""

    # -- properties of the layer -------------------------------------------------------

    @property
    def capabilities(self) -> Capabilities:
        """The capabilities of the stack from this layer inwards."""
        return self.inner.capabilities

    def findings(
        self, above: Sequence[Layer], below: Sequence[Layer], base: Store
    ) -> Iterable[Finding]:
        """Return the mistakes in the position of this layer, given the layers around it.

        Args:
            above: The layers outside this one, outermost first.
            below: The layers inside this one, outermost first.
            base: The backend.
        """
        return ()

    def reports(self, above: Sequence[Any], below: Sequence[Any], base: Any) -> Iterable[Finding]:
        return self.findings(above, below, base)

    def unsupported(self, operation: str) -> UnsupportedOperation:
        """Return the error for an operation that this layer makes impossible."""
        return UnsupportedOperation(f"{self.name} cannot {operation}", store=self.name)

    # -- values, before they are serialized and after ----------------------------------

    def on_put(self, value: Any, key: str, collection: Collection) -> Any:
        """Return the value to put instead of the user's; raises to refuse it."""
        return value

    def on_get(self, value: Any, key: str, collection: Collection) -> Any:
        """Return the value that the user gets instead of the stored one."""
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

    async def count_range(self, collection: Collection, key_range: KeyRange) -> int:
        return await self.inner.count_range(collection, key_range)

    async def drop_range(self, collection: Collection, key_range: KeyRange) -> int:
        return await self.inner.drop_range(collection, key_range)

    async def drop(self, collection: Collection) -> bool:
        return await self.inner.drop(collection)

    async def drop_all(self) -> bool:
        return await self.inner.drop_all()

    async def sweep(self) -> None:
        await self.inner.sweep()

    async def ping(self) -> None:
        await self.inner.ping()

    async def subscribe(self, scope: Scope, listener: Listener) -> Subscription:
        return await self.inner.subscribe(scope, listener)

    def trace(self, collection: Collection, key: str) -> tuple[Origin, ...]:
        return self.inner.trace(collection, key)


def _rebuild(
    cls: type[Layer], args: tuple[Any, ...], kwargs: dict[str, Any], configured: Any
) -> Layer:
    layer = cls(*args, **kwargs)
    layer.configured = configured
    return layer


def _check_second_stores(layer: Layer, under: Store) -> None:
    for _, second in layer.second_stores:
        if second in (under, under.base):
            raise ConfigurationError(
                f"a second store must be another one than the store that the layer is put over; "
                f"{layer.name} has the same {second.name} twice, and what it does to one it would "
                "do to the other",
                store=layer.name,
            )


class LayeredStore(Store):
    """The store that `layer.over(store)` and `stack.over(store)` return.

    Args:
        under: The store to put layers over. Its own layers stay in place with their state.
        layers: Descriptions, outermost first.
        silenced: Codes of findings to ignore.
    """

    _peeks = True

    def __init__(self, under: Store, layers: Sequence[Layer], *, silenced: Names[str] = ()) -> None:
        existing = layers_of(under)
        part: Primitives = existing[0] if existing else under
        own: list[Layer] = []
        try:
            for layer in reversed(layers):
                own.insert(0, layer.bind(part))
                own[0].below, part = part, own[0]
                _check_second_stores(own[0], under)
            self._under = under
            self._base = under.base
            self._own = tuple(own)
            self._layers = (*own, *existing)
            super().__init__(clock=under.clock, serializer=self._choose(under.serializer))
            self._values.accept(each for layer in self._layers for each in layer.also_reads)
            self.default_collection = under.default_collection
            self.silenced = frozenset(silenced) | under.silenced
            self._findings = tuple(self._find_mistakes(self.silenced))
        except BaseException:
            for running in own:
                running.release()
            raise
        self.capabilities = part.capabilities
        self._tagging = _tagging_of(self._layers)
        traits = frozenset[str]().union(*(layer.traits for layer in self._layers))
        self._is_contextual = "contextual" in traits
        self._condition_costs = bool(traits & {"journals", "replicates"})
        for name in _BOUND:
            setattr(self, name, getattr(part, name))
        self._on_put = tuple(hook for layer in self._layers if (hook := layer.put_hook))
        self._on_get = tuple(hook for layer in reversed(self._layers) if (hook := layer.get_hook))

    def _choose(self, default: Serializer) -> Serializer:
        chosen = [layer.serializer for layer in self._layers if layer.serializer is not None]
        if len(chosen) > 1:
            raise ConfigurationError(
                "a stack must have at most one serialization layer, because a value is serialized "
                f"once; got {len(chosen)}: remove all but one"
            )
        return chosen[0] if chosen else default

    def _find_mistakes(self, silenced: Names[str]) -> Iterator[Finding]:
        if all(layer.serializer is None for layer in self._layers):
            for finding in unprotected_pickle(self.serializer, self._layers, self._base):
                if finding.code not in silenced:
                    if not self._under.layers:
                        warn(finding)
                    yield finding
        for index, layer in enumerate(self._layers):
            for finding in layer.findings(
                self._layers[:index], self._layers[index + 1 :], self._base
            ):
                if finding.fatal:
                    raise ConfigurationError(str(finding), store=layer.name)
                if finding.code in silenced:
                    continue
                if index < len(self._own):
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
        suitability = self._known_suitability
        return self._findings if suitability is None else self._findings + suitability.findings

    async def setup(self) -> None:
        """Open the store under the layers, then the layers from the inside out.

        If one of them fails, those already opened are closed again.
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
            await self._end_background()
            # Never opened as a whole: parts may have been set up by their first use. A part
            # with users was opened by other code, which has to close it.
            async with AsyncExitStack() as closing:
                for part in self._parts():
                    if not part.users:
                        closing.push_async_callback(part.close)
        await super().close()

    def _parts(self) -> tuple[Lifecycle, ...]:
        return (self._under, *reversed(self._own))

    def __repr__(self) -> str:
        return " > ".join(repr(part) for part in (*self._layers, self._base))


def _tagging_of(layers: Sequence[Any]) -> Tagging | None:
    """Return the layer that gives entries tags, if one of these does."""
    return next((layer for layer in layers if "tags" in layer.traits and not layer.only_read), None)


def layers_of(store: Store) -> tuple[Layer, ...]:
    """Return the running layers over the backend, outermost first."""
    return tuple(part for part in store.layers if isinstance(part, Layer))
