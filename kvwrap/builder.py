"""The builder: layers in the order in which a write travels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, ParamSpec, Self, overload

from kvwrap.core.layer import Layer, LayeredStore
from kvwrap.core.registry import as_store
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError
from kvwrap.layers.chaos import Chaos
from kvwrap.layers.circuit_breaker import CircuitBreaker
from kvwrap.layers.coalesce import Coalesce
from kvwrap.layers.compression import Compression
from kvwrap.layers.concurrency_limit import ConcurrencyLimit
from kvwrap.layers.default_value import DefaultValue
from kvwrap.layers.encryption import Encryption
from kvwrap.layers.fallback import Fallback
from kvwrap.layers.hashed_key import HashedKey
from kvwrap.layers.limit_size import LimitSize
from kvwrap.layers.logging import Logging
from kvwrap.layers.passthrough import Passthrough
from kvwrap.layers.prefix_collection import PrefixCollection
from kvwrap.layers.prefix_key import PrefixKey
from kvwrap.layers.rate_limit import RateLimit
from kvwrap.layers.read_only import ReadOnly
from kvwrap.layers.read_through import ReadThrough
from kvwrap.layers.replication import Replication
from kvwrap.layers.retry import Retry
from kvwrap.layers.routing import Routing
from kvwrap.layers.serialization import Serialization
from kvwrap.layers.shadow import Shadow
from kvwrap.layers.sharding import Sharding
from kvwrap.layers.single_collection import SingleCollection
from kvwrap.layers.statistics import Statistics
from kvwrap.layers.timeout import Timeout
from kvwrap.layers.tracing import Tracing
from kvwrap.layers.ttl_clamp import TTLClamp
from kvwrap.layers.validate import Validate
from kvwrap.layers.write_behind import WriteBehind

P = ParamSpec("P")


class _Adds(Generic[P]):
    """A builder method: takes what the layer's class takes, and gives a longer stack."""

    def __init__(self, layer: Callable[P, Layer]) -> None:
        self.layer = layer
        self.__doc__ = layer.__doc__

    @overload
    def __get__(self, stack: None, owner: type[Stack]) -> Self: ...

    @overload
    def __get__(self, stack: Stack, owner: type[Stack]) -> Callable[P, Stack]: ...

    def __get__(self, stack: Stack | None, owner: type[Stack]) -> Self | Callable[P, Stack]:
        if stack is None:
            return self

        def add(*args: P.args, **kwargs: P.kwargs) -> Stack:
            return stack.layer(self.layer(*args, **kwargs))

        add.__doc__ = self.__doc__
        add.__wrapped__ = self.layer  # type: ignore[attr-defined]  # for `help` and editors
        return add


@dataclass(frozen=True, repr=False)
class Stack:
    """An immutable sequence of layers, outermost first.

    Each method named after a layer gives a new stack with that layer added inside, and
    takes what the layer's class takes. Nothing happens, and nothing is opened, before
    `over` puts the stack over a store; one stack can go over many.

    >>> from kvwrap import MemoryStore, stack
    >>> store = stack().clamp_ttl(maximum=3600).prefix_collection("app-").over(MemoryStore())
    >>> print(store.explain().splitlines()[0])
    TTLClamp(maximum=3600)
    """

    layers: tuple[Layer, ...] = ()
    silenced: frozenset[str] = field(default=frozenset(), compare=False)

    def __post_init__(self) -> None:
        for layer in self.layers:
            if not isinstance(layer, Layer):
                raise ConfigurationError(
                    f"a stack is made of layers, not of classes: did you mean {layer.__name__}()?"
                    if isinstance(layer, type)
                    else f"a stack is made of layers, and a {type(layer).__name__} is none"
                )

    def layer(self, layer: Layer | None = None) -> Stack:
        """This stack with a layer added inside: one of your own, or of another package.

        Args:
            layer: A `Passthrough`, which changes nothing, if left out.
        """
        added = Passthrough() if layer is None else layer
        return Stack((*self.layers, added), self.silenced)

    def silence(self, *codes: str) -> Stack:
        """This stack with findings of these codes taken as meant."""
        return Stack(self.layers, self.silenced | set(codes))

    def over(self, store: Any) -> Store:
        """A store that is `store` behind these layers.

        Args:
            store: A store, or anything that `kvwrap.adapt` takes.

        Raises:
            ConfigurationError: The stack cannot work.

        Warns:
            StackWarning: The stack is a known mistake.
        """
        return LayeredStore(as_store(store), self.layers, silenced=self.silenced)

    def __add__(self, other: Stack) -> Stack:
        if not isinstance(other, Stack):
            return NotImplemented
        return Stack(self.layers + other.layers, self.silenced | other.silenced)

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def __repr__(self) -> str:
        return f"stack({', '.join(map(repr, self.layers))})"

    chaos = _Adds(Chaos)
    circuit_breaker = _Adds(CircuitBreaker)
    clamp_ttl = _Adds(TTLClamp)
    coalesce = _Adds(Coalesce)
    compress = _Adds(Compression)
    default_value = _Adds(DefaultValue)
    encrypt = _Adds(Encryption)
    fallback = _Adds(Fallback)
    hash_keys = _Adds(HashedKey)
    limit_concurrency = _Adds(ConcurrencyLimit)
    limit_rate = _Adds(RateLimit)
    limit_size = _Adds(LimitSize)
    log = _Adds(Logging)
    prefix_collection = _Adds(PrefixCollection)
    prefix_key = _Adds(PrefixKey)
    read_only = _Adds(ReadOnly)
    read_through = _Adds(ReadThrough)
    replicate = _Adds(Replication)
    retry = _Adds(Retry)
    route = _Adds(Routing)
    serialize = _Adds(Serialization)
    shadow = _Adds(Shadow)
    shard = _Adds(Sharding)
    single_collection = _Adds(SingleCollection)
    statistics = _Adds(Statistics)
    timeout = _Adds(Timeout)
    trace = _Adds(Tracing)
    validate = _Adds(Validate)
    write_behind = _Adds(WriteBehind)


def stack(*layers: Layer) -> Stack:
    """A stack of these layers, outermost first; without any, the beginning of a chain.

    >>> from kvwrap import Compression, stack
    >>> stack(Compression(min_size=256)) == stack().compress(min_size=256)
    True
    """
    return Stack(layers)
