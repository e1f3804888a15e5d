"""Following a configuration: what it describes, made, with the place of every mistake."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping
from types import GenericAlias
from typing import Any

from kvwrap.builder import LAYERS, Stack, stack
from kvwrap.config.convert import Mistake, converted, parameters
from kvwrap.config.references import is_reference, meant, text_of
from kvwrap.core.described import redact
from kvwrap.core.layer import Layer
from kvwrap.core.registry import layer_class, store_class, store_names
from kvwrap.core.store import Store
from kvwrap.core.validation import suggest
from kvwrap.errors import ConfigurationError, KvwrapError

_PARTS = ("store", "layers", "silence")


def store_from_url(url: str) -> Store:
    """The store that a URL describes, without layers. Nothing is opened.

    Raises:
        ConfigurationError: No store has this scheme, or not such a URL. The URL is not quoted.
    """
    scheme, separator, _ = str(url).partition("://")
    if not separator:
        raise ConfigurationError("a store's URL begins with its scheme, as in redis://localhost")
    store = store_class(scheme).from_url(url)
    store.configured = url
    return store


def check_parts(table: Mapping[str, Any], path: str) -> None:
    """Raise `ConfigurationError` for what no configuration has."""
    for name in table:
        if name not in _PARTS:
            raise ConfigurationError(
                f"{path}{name}: no such part of a configuration: {suggest(str(name), _PARTS)}"
            )


class _StoreFactory:
    """Makes the second store that a configuration describes, a new one for every stack."""

    def __init__(self, reader: Reader, described: Any, path: str) -> None:
        self._reader = reader
        self._described = described
        self._path = path
        # Made once already, so that mistakes are found now, and not when it is put to use.
        self._first: Store | None = reader.store_at(described, path)
        self._shown = repr(self._first)

    def __call__(self) -> Store:
        made, self._first = self._first, None
        return self._reader.store_at(self._described, self._path) if made is None else made

    def __repr__(self) -> str:
        return self._shown


class Reader:
    """Follows one configuration.

    Attributes:
        python: Whether references to code are followed.
        path: What is being read, as `layers[2].routes.logs`.
    """

    def __init__(self, python: bool) -> None:
        self.python = python
        self.path = ""
        self._secrets: list[str] = []

    # -- asked for by `converted` ----------------------------------------------------------

    def store(self, value: Any) -> _StoreFactory:
        """What makes the second store that stands at `path`."""
        return _StoreFactory(self, value, self.path)

    def secret(self, text: str) -> None:
        """Keep this text out of every message."""
        self._secrets.append(text)

    # -- parts -------------------------------------------------------------------------------

    def whole(self, table: Mapping[str, Any], path: str) -> Store:
        """The store of a table with `store`, and perhaps `layers` over it."""
        built = self.stack(table, path)
        base = self.store_at(table["store"], f"{path}store")
        if not built.layers:
            return base
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                store = built.over(base)
            except KvwrapError as error:
                raise self._at(path or "the stack", error) from None
        for warning in caught:
            # As if the stack had been built where from_config is called.
            warnings.warn(str(warning.message), warning.category, stacklevel=3)
        return store

    def stack(self, table: Mapping[str, Any], path: str) -> Stack:
        """The layers of a table."""
        check_parts(table, path)
        layers, silenced = table.get("layers", ()), table.get("silence", ())
        if not isinstance(layers, list | tuple):
            raise ConfigurationError(f"{path}layers: an array of tables, as [[layers]] makes it")
        if not isinstance(silenced, list | tuple) or not all(
            isinstance(code, str) for code in silenced
        ):
            raise ConfigurationError(f"{path}silence: an array of codes of findings")
        made = [self._layer(layer, f"{path}layers[{at}]") for at, layer in enumerate(layers)]
        return stack(*made).silence(*silenced)

    def _layer(self, described: Any, path: str) -> Layer:
        if isinstance(described, str):
            described = {"type": described}
        if not isinstance(described, Mapping) or not isinstance(described.get("type"), str):
            raise ConfigurationError(f'{path}: a layer is a table with type = "..."')
        options = dict(described)
        try:
            cls = layer_class(options.pop("type"), LAYERS)
        except ConfigurationError as error:
            raise self._at(f"{path}.type", error) from None
        layer: Layer = self._made(cls, options, path)
        layer.configured = described
        return layer

    def store_at(self, described: Any, path: str) -> Store:
        """The store that a URL, a reference to one or a table describes."""
        try:
            store = self._store(described, path)
        except KvwrapError as error:
            raise self._at(path, error) from None
        store.configured = described
        return store

    def _store(self, described: Any, path: str) -> Store:
        if is_reference(described) and "python" not in described:
            described = text_of(described)
            self.secret(described)
            if described.partition("://")[0] not in (known := store_names()):
                raise ConfigurationError(
                    f"what is referred to is no URL of a store; those begin with {', '.join(known)}"
                )
        if isinstance(described, str):
            return store_from_url(described)
        if is_reference(described):
            return self._made_in_code(described)
        if not isinstance(described, Mapping):
            raise ConfigurationError('a store is a URL or a table with type = "..."')
        if "store" in described:
            return self.whole(described, f"{path}.")
        if meant(described):
            raise ConfigurationError(meant(described))
        options = dict(described)
        name = options.pop("type", None)
        if name is None and set(options) == {"url"}:
            return self._store(options["url"], path)
        if not isinstance(name, str):
            raise ConfigurationError('a store is a URL or a table with type = "..."')
        store: Store = self._made(store_class(name), options, path)
        return store

    def _made_in_code(self, reference: Mapping[str, Any]) -> Store:
        try:
            made = converted(reference, Any, self)
        except Mistake as mistake:
            raise ConfigurationError(mistake.text) from None
        found = made if isinstance(made, Store) else made()
        if not isinstance(found, Store):
            raise ConfigurationError("this is neither a store nor a factory of one")
        return found

    def _made(self, cls: Any, options: Mapping[str, Any], path: str) -> Any:
        known = parameters(cls)
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for name, value in options.items():
            parameter = known.get(name)
            if parameter is None or parameter.kind is parameter.VAR_KEYWORD:
                raise ConfigurationError(
                    f"{path}.{name}: {cls.__name__} has no such option"
                    + (f": {suggest(name, known)}" if known else "")
                )
            before, self.path = self.path, f"{path}.{name}"
            try:
                if parameter.kind is parameter.VAR_POSITIONAL:
                    args = converted(value, GenericAlias(list, (parameter.annotation,)), self)
                else:
                    kwargs[name] = converted(value, parameter.annotation, self)
            except Mistake as mistake:
                raise ConfigurationError(f"{path}.{name}{mistake.path}: {mistake.text}") from None
            except KvwrapError as error:
                raise self._at(f"{path}.{name}", error) from None
            finally:
                self.path = before
        try:
            inspect.signature(cls).bind(*args, **kwargs)
        except TypeError as error:
            raise ConfigurationError(f"{path}: {cls.__name__}: {error}") from None
        try:
            return cls(*args, **kwargs)
        except (KvwrapError, TypeError, ValueError) as error:
            raise self._at(path, error) from None

    def _at(self, path: str, error: Exception) -> ConfigurationError:
        """The error with its place, and without what references led to."""
        text = error.message if isinstance(error, KvwrapError) else str(error)
        for secret in self._secrets:
            if secret.strip():
                text = text.replace(secret, "***")
        text = redact(text)
        # Whoever is further in has said the place already, more exactly.
        inside = isinstance(error, ConfigurationError) and text.startswith(path)
        return ConfigurationError(text if inside else f"{path}: {text}")
