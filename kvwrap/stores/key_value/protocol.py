"""The stores of the py-key-value family: their protocol, limits and errors."""

from __future__ import annotations

import sys
from typing import Any, Final

from kvwrap import errors

METHODS: Final = (
    *("get", "get_many", "ttl", "ttl_many"),
    *("put", "put_many", "delete", "delete_many"),
)
LONGEST: Final = 1000 * 365 * 86400.0
"""The longest ttl given to the wrapped store, in seconds: its dates end with the year 9999."""

# Errors of py-key-value by the names of their classes, since it may not be installed.
_KINDS: Final[dict[str, type[errors.KvwrapError]]] = {
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
    """Whether this object has the methods of the `AsyncKeyValue` protocol."""
    return not isinstance(obj, type) and all(callable(getattr(obj, m, None)) for m in METHODS)


def page_limit(wrapped: object) -> int | None:
    """The most keys that `keys` of this store ever gives, where its module says so."""
    for kind in type(wrapped).__mro__:
        cap = getattr(sys.modules.get(kind.__module__), "PAGE_LIMIT", None)
        if isinstance(cap, int):
            return cap
    return None


def failure(error: Exception, **where: Any) -> errors.KvwrapError:
    """What to raise for an error of such a store."""
    # The text stays with the cause, since it may quote a value.
    name = type(error).__name__
    for kind in type(error).__mro__:
        known = _KINDS.get(kind.__name__)
        if known is not None and kind.__module__.startswith(("key_value.", "builtins")):
            return known(f"the wrapped store failed ({name})", **where)
    return errors.StoreUnavailable(f"the wrapped store failed ({name})", **where)
