"""Writing down what has been built, so that it can be built again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kvwrap.builder import LAYERS, Stack
from kvwrap.config.convert import asks_for_store, parameters
from kvwrap.config.references import is_reference, python_reference
from kvwrap.core.described import Described, redacted_repr
from kvwrap.core.layer import LayeredStore, layers_of
from kvwrap.core.registry import layer_name, store_name
from kvwrap.core.serializer import serializer_named
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError


def to_config(source: Store | Stack) -> dict[str, Any]:
    """The mapping from which `from_config` builds this store, or `stack_from_config` this stack.

    References are written back as they were given. What is not JSON or TOML, such as a clock
    or a ready-made client, cannot be written down.

    Raises:
        ConfigurationError: Something was made in code; or is a secret that is not referred to.
    """
    layers = layers_of(source) if isinstance(source, Store) else source.layers
    table: dict[str, Any] = {}
    if isinstance(source, Store):
        table["store"] = _told_store(source.base)
    if layers:
        table["layers"] = [
            _told(layer, layer_name(type(layer), LAYERS), f"layers[{place}]")
            for place, layer in enumerate(layers)
        ]
    if source.silenced:
        table["silence"] = sorted(source.silenced)
    return table


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
    if redacted_repr(name, text) != repr(text):
        raise ConfigurationError(
            f"{path}: a secret is not written down: keep it in the environment or in a file, and "
            'refer to it by { env = "NAME" } or { file = "/path" } when the store is built'
        )
