"""The builder: layers in the order in which a write passes through them."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, ParamSpec, cast

from kvwrap import layers as layer_classes
from kvwrap.core.layer import Layer, LayeredStore
from kvwrap.core.registry import as_store, entry_points
from kvwrap.core.store import Store
from kvwrap.core.validation import check_call
from kvwrap.errors import ConfigurationError

P = ParamSpec("P")

LAYERS: dict[str, type[Layer]] = {}
"""Layer classes by the name of their builder method, in alphabetical order."""

_SYNONYMS = {
    "cache": ".read_through(...)",
    "default_ttl": ".clamp_ttl(default=...)",
    "expire_after_access": ".slide_ttl(...)",
    "l1": ".read_through(...)",
    "memoize": "@store.cached() on a function, once the stack is over a store",
    "memory_cache": ".read_through(...)",
    "metrics": ".statistics(...)",
    "namespace": ".prefix_collection(...)",
    "near": ".read_through(...)",
    "near_cache": ".read_through(...)",
    "prometheus": ".statistics(...)",
    "session": ".slide_ttl(...)",
    "sessions": ".slide_ttl(...)",
    "single_flight": ".coalesce(...), or .read_through(...)",
    "invalidate": ".tags(...)",
    "sliding_expiration": ".slide_ttl(...)",
    "tier": ".read_through(...)",
}
"""What to write for names that a user may try instead."""


class _Placeholder:
    """Becomes the builder method of a layer once `Stack` says under which name."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer

    def __set_name__(self, owner: type[Stack], name: str) -> None:
        LAYERS[name] = self.layer
        setattr(owner, name, _builder_method(owner, name, self.layer))


def _adds(layer: Callable[P, Layer]) -> Callable[Concatenate[Stack, P], Stack]:
    """Declare the builder method of a layer; it takes the arguments of the layer's class."""
    return cast("Callable[Concatenate[Stack, P], Stack]", _Placeholder(layer))


def _builder_method(owner: type[Stack], name: str, layer: type[Layer]) -> Callable[..., Stack]:
    """Return a function with the name of the method and the signature and docs of the layer."""
    signature = inspect.signature(layer)

    def add(self: Stack, *args: Any, **kwargs: Any) -> Stack:
        check_call(name, signature, args, kwargs)
        return self.layer(layer(*args, **kwargs))

    self_parameter = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    attributes = {
        "__name__": name,
        "__qualname__": f"Stack.{name}",
        "__doc__": layer.__doc__,
        "__annotations__": {**layer.__init__.__annotations__, "return": owner},
        "__wrapped__": layer.__init__,  # source code and names in annotations are found there
        "__signature__": signature.replace(
            parameters=[self_parameter, *signature.parameters.values()], return_annotation="Stack"
        ),
    }
    for attribute, value in attributes.items():
        setattr(add, attribute, value)
    return add


@dataclass(frozen=True, repr=False)
class Stack:
    """An immutable sequence of layers, outermost first.

    Each method named after a layer returns a new stack with that layer added inside. It takes
    the arguments of the layer's class. Nothing happens, and nothing is opened, before `over`
    puts the stack over a store. One stack can be put over many stores.

    >>> from kvwrap import MemoryStore, stack
    >>> store = stack().clamp_ttl(maximum=3600).prefix_collection("app-").over(MemoryStore())
    >>> print(store.explain().splitlines()[0])
    TTLClamp(maximum=3600)

    Attributes:
        layers: The layers, outermost first.
        silenced: Codes of findings that are not reported.
    """

    layers: tuple[Layer, ...] = ()
    silenced: frozenset[str] = field(default=frozenset(), compare=False)

    def __post_init__(self) -> None:
        for layer in self.layers:
            if not isinstance(layer, Layer):
                raise ConfigurationError(f"expected a Layer, got {_describe(layer)}")

    def layer(self, layer: Layer | None = None) -> Stack:
        """Return this stack with a layer added inside, such as one of your own.

        Args:
            layer: A `Passthrough`, which changes nothing, if omitted.

        Raises:
            ConfigurationError: `layer` is not a layer.
        """
        added = layer_classes.Passthrough() if layer is None else layer
        return Stack((*self.layers, added), self.silenced)

    def silence(self, *codes: str) -> Stack:
        """Return this stack with the findings of these codes silenced.

        The code of a layer of your own is known if the layer's class lists it in
        `finding_codes`. A layer that reports findings without listing their codes must be in
        the stack before they are silenced.

        Raises:
            ConfigurationError: No layer reports a finding of this code.
        """
        for code in codes:
            _check_code(code, self.layers)
        return Stack(self.layers, self.silenced | set(codes))

    def over(self, store: Any) -> Store:
        """Return a store that is `store` behind these layers.

        Args:
            store: A store, or any object that `kvwrap.adapt` takes.

        Raises:
            ConfigurationError: The stack cannot work.

        Warns:
            StackWarning: The order of the layers is a known mistake.
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

    if not TYPE_CHECKING:  # type checkers refuse unknown methods

        def __getattr__(self, name: str) -> NoReturn:
            # Without an object, so that Python does not suggest a second name.
            raise AttributeError(_explain_missing(name), name=name, obj=None)

    chaos = _adds(layer_classes.Chaos)
    circuit_breaker = _adds(layer_classes.CircuitBreaker)
    clamp_ttl = _adds(layer_classes.TTLClamp)
    coalesce = _adds(layer_classes.Coalesce)
    compress = _adds(layer_classes.Compression)
    default_value = _adds(layer_classes.DefaultValue)
    encrypt = _adds(layer_classes.Encryption)
    fallback = _adds(layer_classes.Fallback)
    hash_keys = _adds(layer_classes.HashedKey)
    limit_concurrency = _adds(layer_classes.ConcurrencyLimit)
    limit_rate = _adds(layer_classes.RateLimit)
    limit_size = _adds(layer_classes.LimitSize)
    log = _adds(layer_classes.Logging)
    prefix_collection = _adds(layer_classes.PrefixCollection)
    prefix_key = _adds(layer_classes.PrefixKey)
    read_only = _adds(layer_classes.ReadOnly)
    read_through = _adds(layer_classes.ReadThrough)
    replicate = _adds(layer_classes.Replication)
    retry = _adds(layer_classes.Retry)
    route = _adds(layer_classes.Routing)
    serialize = _adds(layer_classes.Serialization)
    shadow = _adds(layer_classes.Shadow)
    shard = _adds(layer_classes.Sharding)
    single_collection = _adds(layer_classes.SingleCollection)
    slide_ttl = _adds(layer_classes.SlidingTTL)
    statistics = _adds(layer_classes.Statistics)
    tags = _adds(layer_classes.Tags)
    timeout = _adds(layer_classes.Timeout)
    trace = _adds(layer_classes.Tracing)
    validate = _adds(layer_classes.Validate)
    write_behind = _adds(layer_classes.WriteBehind)


def stack(*layers: Layer) -> Stack:
    """Return a stack of these layers, outermost first; without any, the start of a chain.

    >>> from kvwrap import Compression, stack
    >>> stack(Compression(min_size=256)) == stack().compress(min_size=256)
    True
    """
    return Stack(layers)


def _describe(thing: object) -> str:
    """Return what was given in place of a layer, and how to get what was meant."""
    if isinstance(thing, type):
        if issubclass(thing, Store):
            return f"the class {thing.__name__}: did you mean .over({thing.__name__}())?"
        hint = f": did you mean {thing.__name__}()?" if issubclass(thing, Layer) else ""
        return f"the class {thing.__name__}{hint}"
    kind = type(thing).__name__
    if isinstance(thing, Store):
        return f"the store {kind}: put the stack over it with .over(store)"
    if isinstance(thing, Stack):
        return "a Stack: join stacks with +"
    if isinstance(thing, list | tuple) and all(isinstance(each, Layer) for each in thing):
        return f"{kind}: write stack(*layers)"
    if isinstance(thing, str) and thing in LAYERS:
        return f"str: did you mean stack().{thing}()?"
    return kind


def _explain_missing(name: str) -> str:
    """Return the message for a name that is not a method of the builder."""
    message = f"{Stack.__name__!r} object has no attribute {name!r}"
    if name.startswith("_"):
        return message
    if hasattr(Store, name):
        return f"{message}: put the stack over a store first: stack().over(store)"
    # A layer's module is called as people call the layer: `rate_limit`, `encryption`.
    modules = {layer.__module__.split(".")[2]: method for method, layer in LAYERS.items()}
    methods = modules | {method: method for method in (*LAYERS, "layer", "over", "silence")}
    known = {name: f".{method}(...)" for name, method in methods.items()} | _SYNONYMS
    near = _nearest(name.lower(), known)
    if near is not None:
        return f"{message}: did you mean {known[near]}?"
    return f"{message}: help(Stack) lists the methods; .layer(...) adds a layer of your own"


def _nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that was probably meant, or None."""
    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)), None)


def _check_code(code: object, layers: tuple[Layer, ...]) -> None:
    """Raise `ConfigurationError` for a code that no layer reports."""
    if not isinstance(code, str):
        raise ConfigurationError(
            f"codes must be strings such as 'retry-twice'; got {type(code).__name__}"
        )
    if code in _declared_codes() or not all(_lists_its_codes(type(layer)) for layer in layers):
        return
    for point in entry_points(group="kvwrap.layers"):
        try:
            point.load()
        except (ImportError, AttributeError):  # reported where its name is used
            continue
    known = _declared_codes()
    if code not in known:
        near = _nearest(code, known)
        raise ConfigurationError(
            f"no layer reports a finding with the code {code!r}: "
            + (f"did you mean {near!r}?" if near else "a layer lists its own in `finding_codes`")
        )


def _declared_codes(layer: type[Layer] = Layer) -> frozenset[str]:
    """Return the codes that this class and all its subclasses list."""
    return layer.finding_codes.union(*map(_declared_codes, layer.__subclasses__()))


def _lists_its_codes(layer: type[Layer]) -> bool:
    """Return False for a class that overrides `findings` without listing their codes."""
    for cls in layer.__mro__:
        if "finding_codes" in vars(cls):
            return True
        if "findings" in vars(cls):
            return False
    return True
