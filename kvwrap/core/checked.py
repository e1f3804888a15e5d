"""What the constructors of layers refuse: each gives its value back, or `ConfigurationError`."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Mapping
from typing import Any, cast

from kvwrap.core.names import checked_key
from kvwrap.core.nearest import nearest
from kvwrap.core.primitives import PRIMITIVES
from kvwrap.core.registry import as_store
from kvwrap.errors import ConfigurationError, InvalidKey


def checked_operations(names: object) -> frozenset[str]:
    """Names of primitives; raises `ConfigurationError` for others."""
    if isinstance(names, str) or not hasattr(names, "__iter__"):
        raise ConfigurationError(f"operations are several names, as in ['read'], not {names!r}")
    found = tuple(cast("Iterable[str]", names))
    for name in found:
        if name not in PRIMITIVES:
            raise ConfigurationError(
                f"no operation is called {name!r}: {nearest(str(name), PRIMITIVES)}"
            )
    return frozenset(found)


def checked_errors(kinds: object, name: str) -> tuple[type[Exception], ...]:
    """Classes of errors, one or several; raises `ConfigurationError` for anything else."""
    found = tuple(kinds) if isinstance(kinds, tuple | list | set | frozenset) else (kinds,)
    if not found or not all(isinstance(k, type) and issubclass(k, Exception) for k in found):
        raise ConfigurationError(f"{name} names classes of exceptions, not {kinds!r}")
    return found


def concerns(
    error: Exception, kinds: tuple[type[Exception], ...], unless: tuple[type[Exception], ...]
) -> bool:
    """Whether an error is of these kinds, and of none of those that must be named to count."""
    return isinstance(error, kinds) and (not isinstance(error, unless) or type(error) in kinds)


def checked_seconds(value: object, name: str, *, zero: bool = False) -> float:
    """A finite number of seconds above 0, or from 0; raises `ConfigurationError` otherwise."""
    return checked_number(value, name, zero=zero, unit=" of seconds")


def checked_number(value: object, name: str, *, zero: bool = False, unit: str = "") -> float:
    """A finite number above 0, or from 0; raises `ConfigurationError` otherwise."""
    # Compared before it is converted: there are integers that no float can hold.
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (0 < value <= sys.float_info.max or (zero and value == 0))
    ):
        return float(value)
    least = "from 0" if zero else "above 0"
    raise ConfigurationError(f"{name} is a finite number{unit} {least}, not {value!r}")


def checked_share(value: object, name: str) -> float:
    """A share from 0 to 1; raises `ConfigurationError` otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigurationError(f"{name} is a share from 0 to 1, not {value!r}")
    return float(value)


def checked_count(value: object, name: str) -> int:
    """A whole number above 0; raises `ConfigurationError` otherwise."""
    if type(value) is not int or value < 1:
        raise ConfigurationError(f"{name} is a whole number above 0, not {value!r}")
    return value


def checked_flag(value: object, name: str) -> bool:
    """True or False; raises `ConfigurationError` for anything else, `"false"` above all."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name} is True or False, not {value!r}")
    return value


def checked_rng(rng: object) -> random.Random:
    """A source of randomness, a new one for None; raises `ConfigurationError` otherwise."""
    if rng is None:
        return random.Random()
    if not callable(getattr(rng, "random", None)) or not callable(getattr(rng, "uniform", None)):
        raise ConfigurationError(f"rng is a random.Random, not {type(rng).__name__}")
    return cast("random.Random", rng)


def checked_call(function: Any, name: str) -> Any:
    """What can be called, or None; raises `ConfigurationError` otherwise."""
    if function is not None and not callable(function):
        raise ConfigurationError(f"{name} is a function, not {type(function).__name__}")
    return function


def checked_names(names: object, name: str, *, default: bool = False) -> tuple[Any, ...]:
    """Several strings, with `default` also None; raises `ConfigurationError` otherwise."""
    if isinstance(names, str | bytes) or not isinstance(names, Iterable):
        raise ConfigurationError(f"{name} are several names, as in ['one'], not {names!r}")
    found = tuple(names)
    for each in found:
        if not (default and each is None) and (not isinstance(each, str) or not each):
            raise ConfigurationError(f"{name} are names, and {each!r} is none")
    return found


def checked_source(source: Any, name: str) -> Any:
    """A second store: a store, a factory, or what can be adapted; else `ConfigurationError`."""
    if not callable(source):
        try:
            as_store(source)
        except ConfigurationError as error:
            raise ConfigurationError(f"{name} is a store, or a factory of one: {error}") from None
    return source


def checked_sources(sources: Mapping[Any, Any], name: str) -> dict[str, Any]:
    """Second stores by name; raises `ConfigurationError` otherwise."""
    for each, source in sources.items():
        if not isinstance(each, str) or not each:
            raise ConfigurationError(f"{name} are stores by name, and {each!r} is no name")
        checked_source(source, f"{name}[{each!r}]")
    return dict(sources)


def checked_name(name: object, what: str) -> str:
    """What can be part of a key's or collection's name; raises `ConfigurationError` otherwise."""
    try:
        return checked_key(name)
    except InvalidKey:
        raise ConfigurationError(
            f"{what} is a string of at least a character, of valid Unicode, not {name!r}"
        ) from None
