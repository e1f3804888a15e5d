"""The protocol of stores of the py-key-value family, with their limits and errors."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from kvwrap import errors
from kvwrap.core.validation import has_method

METHODS: Final = (
    *("get", "get_many", "ttl", "ttl_many"),
    *("put", "put_many", "delete", "delete_many"),
)
"""The methods that a wrapped store must have."""

_OF_THE_FAMILY: Final = ("get", "ttl", "put", "delete")
"""Methods that together only a store of the family has."""

MAX_TTL: Final = 1000 * 365 * 86400.0
"""Maximum ttl passed to the wrapped store, in seconds: its dates end with the year 9999."""

_LARGEST: Final = sys.float_info.max

# Errors of py-key-value by the names of their classes, since it may not be installed.
_ERRORS: Final[dict[str, type[errors.KvwrapError]]] = {
    "InvalidTTLError": errors.InvalidTTL,
    "InvalidKeyError": errors.InvalidKey,
    "PathSecurityError": errors.InvalidKey,
    "ValueTooLargeError": errors.ValueTooLarge,
    "EntryTooLargeError": errors.ValueTooLarge,
    "EntryTooSmallError": errors.InvalidValue,
    "ReadOnlyError": errors.ReadOnlyViolation,
    "SerializationError": errors.SerializationError,
    "DeserializationError": errors.CorruptEntry,
    "DecryptionError": errors.DecryptionError,
    "EncryptionError": errors.DecryptionError,
    "TimeoutError": errors.StoreTimeout,
}


def has_methods(obj: object) -> bool:
    """Return True if this object has the methods of the `AsyncKeyValue` protocol."""
    return not isinstance(obj, type) and all(has_method(obj, name) for name in METHODS)


def check_version(obj: object) -> None:
    """Raise `ConfigurationError` for a store of the family whose protocol is another one."""
    if isinstance(obj, type) or not all(has_method(obj, name) for name in _OF_THE_FAMILY):
        return
    lacking = [name for name in METHODS if not has_method(obj, name)]
    if lacking:
        raise errors.ConfigurationError(
            f"a store with the AsyncKeyValue protocol must have the methods {', '.join(METHODS)}; "
            f"this {type(obj).__name__} lacks {', '.join(lacking)}: kvwrap knows the protocol of "
            "py-key-value 0.4.6 and 0.5"
        )


def page_limit(wrapped: object) -> int | None:
    """Return the maximum number of keys that `keys` of this store returns.

    Returns None if the module of its class does not state one.
    """
    for cls in type(wrapped).__mro__:
        limit = getattr(sys.modules.get(cls.__module__), "PAGE_LIMIT", None)
        if isinstance(limit, int):
            return limit
    return None


def checked_pairs(
    answer: Any, count: int, wrapped: object, **context: Any
) -> list[tuple[Any, float | None]]:
    """Return the values and ttls that `ttl_many` of a wrapped store returned for `count` keys.

    Raises:
        StoreUnavailable: It returned something else.
    """
    pairs = list(answer) if isinstance(answer, Sequence) and not isinstance(answer, str) else []
    for pair in pairs:
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            break
        ttl = pair[1]
        if ttl is not None and (
            not isinstance(ttl, int | float) or isinstance(ttl, bool) or not abs(ttl) <= _LARGEST
        ):
            break
    else:
        if len(pairs) == count:
            return [
                (value, None if ttl is None or ttl >= MAX_TTL else float(ttl))
                for value, ttl in pairs
            ]
    raise _broken(wrapped, "(value, seconds or None) for every key", "ttl", context)


def checked_names(answer: Any, method: str, wrapped: object, **context: Any) -> list[str]:
    """Return the names that `keys` or `collections` of a wrapped store returned.

    Raises:
        StoreUnavailable: It returned something else.
    """
    if isinstance(answer, Collection) and not isinstance(answer, str | bytes | Mapping):
        names = list(answer)
        if all(isinstance(name, str) and _is_unicode(name) for name in names):
            return names
    raise _broken(wrapped, "a list of names", method, context)


def _is_unicode(name: str) -> bool:
    return bool(name) and not any("\ud800" <= char <= "\udfff" for char in name)


def _broken(
    wrapped: object, expected: str, method: str, context: dict[str, Any]
) -> errors.StoreUnavailable:
    # What it returned is not shown, since it may contain values.
    return errors.StoreUnavailable(
        f"the wrapped {type(wrapped).__name__} must return {expected} from `{method}`, as the "
        "AsyncKeyValue protocol says; it returned something else",
        **context,
    )


def translate_error(error: Exception, wrapped: object, **context: Any) -> errors.KvwrapError:
    """Return the error to raise for an error of a wrapped store.

    Args:
        error: The error, which is to be the cause.
        wrapped: The store that raised it.
        context: Store, collection and keys for the error to name.
    """
    # The error's own text is not repeated, since it may contain a value.
    message = (
        f"the wrapped {type(wrapped).__name__} raised {type(error).__name__}, which is the cause "
        "of this error"
    )
    for cls in type(error).__mro__:
        counterpart = _ERRORS.get(cls.__name__)
        if counterpart is not None and cls.__module__.startswith(("key_value.", "builtins")):
            return counterpart(message, **context)
    return errors.StoreUnavailable(message, **context)
