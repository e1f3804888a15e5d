"""Stacks written down: as TOML, as plain mappings, as URLs.

    store = "redis://localhost:6379/0"

    [[layers]]
    type = "statistics"
    name = "sessions"

    [[layers]]
    type = "encrypt"
    keyring = { env = "SESSION_KEYS" }

`docs/config.md` has the whole format.
"""

from __future__ import annotations

import inspect
import os
import tomllib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import GenericAlias
from typing import Any

from kvwrap.config.options import Mistake, asks_for_store, converted, parameters
from kvwrap.config.references import is_reference, python_reference, text_of
from kvwrap.core.described import Described, redacted, shown
from kvwrap.core.layer import Layer
from kvwrap.core.layered import LayeredStore
from kvwrap.core.registry import (
    layer_class,
    layer_name,
    nearest,
    store_class,
    store_name,
    store_names,
)
from kvwrap.core.serializer import serializer_named
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError, KvwrapError
from kvwrap.stack import Stack, stack

Source = str | os.PathLike[str] | Mapping[str, Any]
"""A configuration: the path of a TOML file, or what such a file holds."""

_PARTS = ("store", "layers", "silence")


def from_config(source: Source, *, python: bool = False) -> Store:
    """The store that a configuration describes. Nothing is opened.

    Args:
        source: The path of a TOML file, or a mapping of the same shape.
        python: Whether references to Python code, `{python = "package.module:name"}`, are
            followed. Importing runs code: only for configurations that are trusted like code.

    Raises:
        ConfigurationError: The configuration is not one, with the place and the likeliest name
            meant; a reference leads nowhere; the stack cannot work. Nothing that a reference
            led to is in the message.

    Warns:
        StackWarning: The stack is a known mistake.
    """
    reader = _Reader(python)
    table = _read(source)
    if "store" not in table:
        raise ConfigurationError(
            'the configuration has no store: write store = "redis://...", or build the layers '
            "alone by stack_from_config"
        )
    return reader.whole(table, "")


def stack_from_config(source: Source, *, python: bool = False) -> Stack:
    """The layers that a configuration describes, to be put over stores in code.

    As `from_config`; the configuration has `layers` and `silence`, and no `store`.
    """
    table = _read(source)
    if "store" in table:
        raise ConfigurationError("the configuration has a store: from_config builds that")
    return _Reader(python).stack(table, "")


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


def to_config(source: Store | Stack) -> dict[str, Any]:
    """The mapping from which `from_config` builds this store, or `stack_from_config` this stack.

    References are written back as they were given. What is not JSON or TOML, such as a clock
    or a ready-made client, cannot be written down.

    Raises:
        ConfigurationError: Something was made in code; or is a secret that is not referred to.
    """
    layers: Sequence[Layer] = tuple(source.layers)
    table: dict[str, Any] = {}
    if isinstance(source, Store):
        table["store"] = _told_store(source.base)
    if layers:
        table["layers"] = [
            _told(layer, layer_name(type(layer)), f"layers[{place}]")
            for place, layer in enumerate(layers)
        ]
    if source.silenced:
        table["silence"] = sorted(source.silenced)
    return table


# -- reading -------------------------------------------------------------------------------


def _read(source: Source) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        return source
    try:
        return tomllib.loads(Path(source).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"the configuration {os.fspath(source)} cannot be read ({type(error).__name__})"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{os.fspath(source)} is not TOML: {error}") from None


class _StoreFactory:
    """Makes the second store that a configuration describes, a new one for every stack."""

    def __init__(self, reader: _Reader, described: Any, path: str) -> None:
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


class _Reader:
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
        return _StoreFactory(self, value, self.path)

    def secret(self, text: str) -> None:
        self._secrets.append(text)

    # -- parts -------------------------------------------------------------------------------

    def whole(self, table: Mapping[str, Any], path: str) -> Store:
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
        for name in table:
            if name not in _PARTS:
                raise ConfigurationError(
                    f"{path}{name}: no such part of a configuration: {nearest(str(name), _PARTS)}"
                )
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
            cls = layer_class(options.pop("type"))
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
                    + (f": {nearest(name, known)}" if known else "")
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
        text = redacted(text)
        # Whoever is further in has said the place already, more exactly.
        inside = isinstance(error, ConfigurationError) and text.startswith(path)
        return ConfigurationError(text if inside else f"{path}: {text}")


# -- writing -------------------------------------------------------------------------------


def _told_store(store: Store) -> Any:
    """What a configuration says of a bare store."""
    if isinstance(store, LayeredStore):
        return to_config(store)
    if isinstance(store.configured, str):
        _refuse_secret("url", store.configured, "store")
        return store.configured
    return _told(store, store_name(type(store)), "store")


def _told(part: Described, name: str | None, path: str) -> Any:
    if part.configured is not None:
        return _plain("", part.configured, path)
    if name is None:
        raise ConfigurationError(
            f"{path}: a {type(part).__name__} is not known by a name, so that no configuration "
            "can ask for it: enter its class under the entry-point group kvwrap.layers or "
            "kvwrap.stores"
        )
    known = parameters(type(part))
    options = {
        option: _plain(option, value, f"{path}.{option}", asks_for_store(known[option].annotation))
        for option, value in part.arguments.items()
        if value is not None
    }
    return {"type": name, **options}


def _plain(name: str, value: Any, path: str, store: bool = False) -> Any:
    """A value as a configuration says it; `store` where it may be a second store."""
    reference = getattr(value, "reference", None)
    if isinstance(reference, Mapping):
        return dict(reference)
    if is_reference(value):
        return dict(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        _refuse_secret(name, value, path)
        return str(value)
    if isinstance(value, Mapping):
        return {key: _plain(str(key), each, f"{path}.{key}", store) for key, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(name, each, f"{path}[{at}]", store) for at, each in enumerate(value)]
    if store and callable(value):
        value = value()  # a factory: what it makes is not opened
    if isinstance(value, Store):
        return to_config(value) if value.layers else _told_store(value)
    if hasattr(value, "total_seconds"):
        return value.total_seconds()
    if hasattr(value, "dumps"):
        name = str(value.name)
        if type(serializer_named(name)) is type(value):
            return name
    return _referred(value, path)


def _referred(value: Any, path: str) -> Any:
    if (
        isinstance(value, type)
        and issubclass(value, BaseException)
        and value.__module__ in ("kvwrap.errors", "builtins")
    ):
        return value.__name__
    reference = python_reference(value)
    if reference is None:
        raise ConfigurationError(
            f"{path}: a {type(value).__name__} was made in code, and cannot be written down"
        )
    return reference


def _refuse_secret(name: str, text: str, path: str) -> None:
    if shown(name, text) != repr(text):
        raise ConfigurationError(
            f"{path}: a secret is not written down: keep it in the environment or in a file, and "
            'refer to it by { env = "NAME" } or { file = "/path" } when the store is built'
        )
