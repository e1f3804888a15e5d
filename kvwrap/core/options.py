"""The options of `get_or_put` and of cached functions, checked."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from kvwrap.core.primitives import Collection
from kvwrap.core.tagging import checked_tags_of
from kvwrap.core.ttl import TTL, checked_ttl
from kvwrap.core.validation import checked_call, checked_seconds
from kvwrap.errors import ConfigurationError

Conversion = Callable[[Any, str, Collection], Any]
"""A function of a value, its key and its collection that returns the value in another form."""


class ComputeOptions(msgspec.Struct, frozen=True):
    """How a value is computed, stored and kept.

    Attributes:
        ttl: The ttl of a result, or a function that returns it for a result.
        keep: Returns True for a result to store; `None` stores all.
        computes_on_error: True if a store that fails costs only the caching.
        computes_invalid: True if a stored value that cannot be read is computed again.
        stale_ttl: Seconds for which a value is kept after its ttl.
        soft_timeout: Seconds for which a caller that has a stale value waits.
        dump: Converts a result to what is stored.
        load: Converts a stored value to a result.
        tags: The tags of a result, or a function that returns them for a result.
        across_processes: True if one process computes and the others wait.
    """

    ttl: Any = None
    keep: Callable[[Any], bool] | None = None
    computes_on_error: bool = False
    computes_invalid: bool = False
    stale_ttl: float | None = None
    soft_timeout: float | None = None
    dump: Conversion | None = None
    load: Conversion | None = None
    tags: Any = None
    across_processes: bool = False

    def keeps(self, value: Any) -> bool:
        """Return what `keep` says of a result."""
        kept = True if self.keep is None else self.keep(value)
        if not isinstance(kept, bool):
            if hasattr(kept, "close"):
                kept.close()  # a coroutine, which would warn that nothing awaited it
            raise ConfigurationError(
                f"`keep` must be a function that returns True or False; got {type(kept).__name__}"
            )
        return kept

    def converted(self, dump: Conversion, load: Conversion) -> ComputeOptions:
        """Return these options for a view whose values have another form."""
        return msgspec.structs.replace(self, dump=dump, load=load)


def not_a_factory(factory: Any) -> ConfigurationError:
    """Return the error for a factory that cannot be called."""
    if isinstance(factory, Coroutine):
        factory.close()  # or it would warn that nothing awaited it
        way_out = "pass the async function itself, or `lambda: function(argument)`"
    else:
        way_out = "use `put`, or `lambda: value`"
    return ConfigurationError(
        f"`factory` must be a function; got {type(factory).__name__}: {way_out}"
    )


def checked_plain(function: Any, name: str) -> Any:
    """Return a function that is not async, or None; raises `ConfigurationError` for others."""
    if inspect.iscoroutinefunction(checked_call(function, name)):
        given = getattr(function, "__qualname__", type(function).__name__)
        raise ConfigurationError(f"`{name}` must not be async; got {given}")
    return function


def checked_options(
    ttl: Any,
    keep: Any,
    on_error: object,
    on_invalid: object,
    stale_ttl: TTL | None,
    soft_timeout: object,
    tags: Any,
    across: object,
) -> ComputeOptions:
    """Return the options; see `ComputedMethods.get_or_put`.

    Raises:
        InvalidTTL: `ttl` or `stale_ttl` is invalid.
        ConfigurationError: Another option is.
    """
    ttl = checked_plain(ttl, "ttl") if callable(ttl) else None if ttl is None else checked_ttl(ttl)
    for name, choice in (("on_error", on_error), ("on_invalid", on_invalid)):
        if choice not in ("raise", "compute"):
            raise ConfigurationError(f"`{name}` must be 'raise' or 'compute'; got {choice!r}")
    if across is not None and across != "processes":
        raise ConfigurationError(
            "`across` must be 'processes', or None for one computation in each process; got "
            f"{across!r}"
        )
    if soft_timeout is not None:
        if stale_ttl is None:
            raise ConfigurationError(
                "`soft_timeout` needs `stale_ttl`: without it there is no value to return instead "
                "of waiting"
            )
        soft_timeout = checked_seconds(soft_timeout, "soft_timeout")
    return ComputeOptions(
        ttl,
        checked_plain(keep, "keep"),
        on_error == "compute",
        on_invalid == "compute",
        None if stale_ttl is None else checked_ttl(stale_ttl, "stale_ttl"),
        soft_timeout,
        tags=checked_tags_of(tags),
        across_processes=across is not None,
    )
