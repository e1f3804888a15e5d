"""Writing a store or stack as the configuration that builds it again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from kvwrap.builder import LAYERS, Stack
from kvwrap.config.convert import accepts_store, parameters
from kvwrap.config.references import is_reference, python_reference
from kvwrap.core.described import Described, is_secret, redacted_repr
from kvwrap.core.layer import LayeredStore, layers_of
from kvwrap.core.registry import layer_name, store_name
from kvwrap.core.serializer import serializer_named
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError


def to_config(source: Store | Stack) -> dict[str, Any]:
    """Return the mapping from which `from_config` or `stack_from_config` builds `source` again.

    References are written as they were given. An object that TOML and JSON cannot express, such
    as a clock or an existing client, is refused.

    Raises:
        ConfigurationError: An object was created in code, or a secret is not a reference.
    """
    layers = layers_of(source) if isinstance(source, Store) else source.layers
    table: dict[str, Any] = {}
    if isinstance(source, Store):
        table["store"] = _dump_store(source.base)
    if layers:
        table["layers"] = [
            _dump_part(layer, layer_name(type(layer), LAYERS), f"layers[{index}]")
            for index, layer in enumerate(layers)
        ]
    if source.silenced:
        table["silence"] = sorted(source.silenced)
    return table


def _dump_store(store: Store) -> Any:
    if isinstance(store, LayeredStore):
        return to_config(store)
    if isinstance(store.configured, str):
        _refuse_secret("url", store.configured, "store")
        return store.configured
    return _dump_part(store, store_name(type(store)), "store")


def _dump_part(part: Described, name: str | None, path: str) -> Any:
    if part.configured is not None:
        return _dump_value("", part.configured, path)
    if name is None:
        raise ConfigurationError(
            f"{path}: no configuration can name the class {type(part).__name__}: register it "
            "under the entry-point group kvwrap.layers or kvwrap.stores"
        )
    known = parameters(type(part))
    options = {
        option: _dump_value(
            option, value, f"{path}.{option}", accepts_store(known[option].annotation)
        )
        for option, value in part.arguments.items()
        if value is not None
    }
    return {"type": name, **options}


def _dump_value(name: str, value: Any, path: str, store: bool = False) -> Any:
    """Return a value as a configuration says it.

    Args:
        name: The option's name, which may be that of a secret.
        store: Whether the value may be a second store.
    """
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
    if isinstance(value, bytes) and not is_secret(name):
        return _dump_bytes(value, path)
    if isinstance(value, Mapping):
        return {
            key: _dump_value(str(key), item, f"{path}.{key}", store) for key, item in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [
            _dump_value(name, item, f"{path}[{index}]", store) for index, item in enumerate(value)
        ]
    if store and callable(value):
        value = value()  # a factory: the store that it creates is not opened
    if isinstance(value, Store):
        return to_config(value) if value.layers else _dump_store(value)
    if isinstance(value, PurePath):
        return str(value)
    if hasattr(value, "total_seconds"):
        return value.total_seconds()
    if hasattr(value, "dumps"):
        name = str(value.name)
        if type(serializer_named(name)) is type(value):
            return name
    return _dump_object(value, path)


def _dump_bytes(value: bytes, path: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise ConfigurationError(
            f"{path}: a configuration cannot express bytes that are not UTF-8 text"
        ) from None


def _dump_object(value: Any, path: str) -> Any:
    """Return an exception by its name, and any other object as a reference to its module."""
    if (
        isinstance(value, type)
        and issubclass(value, BaseException)
        and value.__module__ in ("kvwrap.errors", "builtins")
    ):
        return value.__name__
    reference = python_reference(value)
    if reference is None:
        raise ConfigurationError(
            f"{path}: a configuration cannot express this {type(value).__name__}, which was "
            "created in code"
        )
    return reference


def _refuse_secret(name: str, text: str, path: str) -> None:
    if redacted_repr(name, text) != repr(text):
        raise ConfigurationError(
            f"{path}: a configuration must not contain a secret: keep it in the environment or in "
            'a file, and refer to it by { env = "NAME" } or { file = "/path" } when the store is '
            "built"
        )
