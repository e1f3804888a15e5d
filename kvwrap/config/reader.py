"""Building what a configuration describes, with the location of every mistake."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import GenericAlias
from typing import Any

from kvwrap.builder import LAYERS, Stack, stack
from kvwrap.config.convert import Converter, Mistake, located, parameters
from kvwrap.config.references import is_reference, suggest_reference
from kvwrap.core.layer import Layer
from kvwrap.core.registry import layer_class, store_class, store_names
from kvwrap.core.serializer import PickleSerializer
from kvwrap.core.store import Store
from kvwrap.core.validation import suggest
from kvwrap.errors import ConfigurationError

PARTS = ("store", "layers", "silence")
"""What a configuration of one stack has."""

_NOT_A_STORE = 'a store must be a URL or a table with type = "..."'


def store_from_url(url: str) -> Store:
    """Return the store that a URL describes, without layers. Nothing is opened.

    Raises:
        ConfigurationError: No store has this scheme, or the store refuses the URL. The URL is
            not quoted.
    """
    scheme, separator, _ = str(url).partition("://")
    if not separator:
        name = str(url).partition(":")[0].lower()
        hint = f": did you mean {name}://?" if name in store_names() else ""
        raise ConfigurationError(
            f"a store's URL must begin with its scheme, such as redis://localhost{hint}"
        )
    store = store_class(scheme).from_url(url)
    store.configured = url
    return store


class Reader:
    """Builds what one configuration describes.

    Attributes:
        warnings: Warnings about the stacks that were built, for the caller to issue.
    """

    def __init__(self, python: bool) -> None:
        self._python = python
        self._converter = Converter(python, self._factory)
        self.warnings: list[warnings.WarningMessage] = []

    def read_store(self, table: Mapping[str, Any]) -> Store:
        """Build the store of a whole configuration."""
        with self.reporting():
            _check_parts(table, "")
            if "store" not in table:
                raise Mistake(
                    "",
                    'the configuration has no store: add store = "redis://...", or use '
                    "stack_from_config for the layers alone",
                )
            return self._layered_store(table, "")

    def read_stack(self, table: Mapping[str, Any]) -> Stack:
        """Build the layers of a whole configuration."""
        with self.reporting():
            return self._stack(table, "")

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Turn a `Mistake` into the error that users see, without any secret."""
        try:
            yield
        except Mistake as mistake:
            raise ConfigurationError(self._converter.redact(mistake.message)) from None
        except RecursionError:
            raise ConfigurationError(
                "the configuration must be nested less deeply than Python's recursion limit allows"
            ) from None

    def _factory(self, described: Any, path: str) -> _StoreFactory:
        return _StoreFactory(self, described, path)

    def _layered_store(self, table: Mapping[str, Any], path: str) -> Store:
        layers = self._stack(table, path)
        base = self.store_at(table["store"], _join(path, "store"))
        if not layers.layers:
            return base
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with located(path or "the stack"):
                store = layers.over(base)
        self.warnings += caught
        return store

    def _stack(self, table: Mapping[str, Any], path: str) -> Stack:
        _check_parts(table, path)
        layers, codes = table.get("layers", ()), table.get("silence", ())
        if not isinstance(layers, list | tuple):
            raise Mistake(
                _join(path, "layers"), "expected an array of tables, as [[layers]] makes it"
            )
        if not isinstance(codes, list | tuple):
            raise Mistake(_join(path, "silence"), "expected an array of codes of findings")
        built = [
            self._layer(layer, f"{_join(path, 'layers')}[{index}]")
            for index, layer in enumerate(layers)
        ]
        with located(_join(path, "silence")):
            return stack(*built).silence(*codes)

    def _layer(self, described: Any, path: str) -> Layer:
        if isinstance(described, str):
            described = {"type": described}
        if not isinstance(described, Mapping) or not isinstance(described.get("type"), str):
            raise Mistake(path, 'a layer must be a table with type = "..."')
        options = dict(described)
        with located(f"{path}.type"):
            cls = layer_class(options.pop("type"), LAYERS)
        layer: Layer = self._construct(cls, options, path)
        layer.configured = described
        return layer

    def store_at(self, described: Any, path: str) -> Store:
        """Build the store that a URL, a reference or a table describes."""
        with located(path):
            store = self._store(described, path)
        store.configured = described
        return store

    def _store(self, described: Any, path: str) -> Store:
        if is_reference(described):
            if "python" in described:
                return self._store_from_code(described, path)
            described = self._converter.text(described)
            if described.partition("://")[0] not in (known := store_names()):
                raise Mistake(
                    path,
                    "the reference does not lead to a store's URL, which begins with "
                    f"{', '.join(known)}",
                )
        if isinstance(described, str):
            return store_from_url(described)
        if not isinstance(described, Mapping):
            raise Mistake(path, _NOT_A_STORE)
        if "store" in described:
            return self._layered_store(described, path)
        if hint := suggest_reference(described):
            raise Mistake(path, hint)
        options = dict(described)
        name = options.pop("type", None)
        if name is None and set(options) == {"url"}:
            return self._store(options["url"], path)
        if not isinstance(name, str):
            raise Mistake(path, _NOT_A_STORE)
        store: Store = self._construct(store_class(name), options, path)
        return store

    def _store_from_code(self, reference: Mapping[str, Any], path: str) -> Store:
        value = self._converter.convert(reference, Any, path)
        store = value if isinstance(value, Store) else value()
        if not isinstance(store, Store):
            raise Mistake(path, f"expected a store or a factory of one, got {type(store).__name__}")
        return store

    def _construct(self, cls: Any, options: Mapping[str, Any], path: str) -> Any:
        known = parameters(cls)
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for name, value in options.items():
            at = f"{path}.{name}"
            parameter = known.get(name)
            if parameter is None or parameter.kind is parameter.VAR_KEYWORD:
                hint = f": {suggest(str(name), known)}" if known else ""
                raise Mistake(at, f"{cls.__name__} has no such option{hint}")
            if parameter.kind is parameter.VAR_POSITIONAL:
                args = self._converter.convert(
                    value, GenericAlias(list, (parameter.annotation,)), at
                )
            else:
                kwargs[name] = self._converter.convert(value, parameter.annotation, at)
        try:
            inspect.signature(cls).bind(*args, **kwargs)
        except TypeError as error:
            raise Mistake(path, f"{cls.__name__}: {error}") from None
        with located(path, TypeError, ValueError):
            part = cls(*args, **kwargs)
        also_read = getattr(part, "also_reads", ())
        if not self._python and PickleSerializer in map(type, (part.serializer, *also_read)):
            raise Mistake(
                f"{path}.{'accept' if also_read else 'serializer'}",
                "pickle is refused, since reading its entries can run code: pass python=True to "
                "from_config if the configuration is trusted like code",
            )
        return part


class _StoreFactory:
    """Creates the second store that a configuration describes, a new one for each stack.

    The first one is created at once, so that mistakes are reported while the configuration is
    read.
    """

    def __init__(self, reader: Reader, described: Any, path: str) -> None:
        self._reader = reader
        self._described = described
        self._path = path
        self._first: Store | None = reader.store_at(described, path)
        self._repr = repr(self._first)

    def __call__(self) -> Store:
        store, self._first = self._first, None
        if store is None:
            with self._reader.reporting():
                store = self._reader.store_at(self._described, self._path)
        return store

    def __repr__(self) -> str:
        return self._repr


def _check_parts(table: Mapping[str, Any], path: str) -> None:
    for name in table:
        if name not in PARTS:
            raise Mistake(
                _join(path, name), f"a configuration has no such part: {suggest(str(name), PARTS)}"
            )


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
