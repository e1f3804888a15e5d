"""The protocol of stores of the py-key-value family, with their limits and errors."""

from __future__ import annotations

import sys
from typing import Any, Final

from kvwrap import errors

METHODS: Final = (
    *("get", "get_many", "ttl", "ttl_many"),
    *("put", "put_many", "delete", "delete_many"),
)
"""The methods that a wrapped store must have."""

MAX_TTL: Final = 1000 * 365 * 86400.0
"""Maximum ttl passed to the wrapped store, in seconds: its dates end with the year 9999."""

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
    return not isinstance(obj, type) and all(callable(getattr(obj, m, None)) for m in METHODS)


def page_limit(wrapped: object) -> int | None:
    """Return the maximum number of keys that `keys` of this store returns.

    Returns None if the module of its class does not state one.
    """
    for cls in type(wrapped).__mro__:
        limit = getattr(sys.modules.get(cls.__module__), "PAGE_LIMIT", None)
        if isinstance(limit, int):
            return limit
    return None


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
