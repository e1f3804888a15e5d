"""Every error that kvwrap raises.

Each derives from `KvwrapError` and from the built-in exception that fits, so that
code which knows nothing of kvwrap still catches it. Messages name the store, the
collection and the key; never a value, a password or an encryption key.
"""

from __future__ import annotations

from collections.abc import Iterable


class KvwrapError(Exception):
    """Base of all errors of kvwrap.

    Attributes:
        store: Name of the store or layer that speaks, if one does.
        collection: The collection concerned, as that part calls it; `None` is the default one.
        key: The key concerned, if there is one, likewise.
        succeeded: Keys of a batch, as the caller calls them, that had been carried out when it
            failed, or `None` where the error does not come from the middle of a batch.
    """

    def __init__(
        self,
        message: str,
        *,
        store: str | None = None,
        collection: str | None = None,
        key: str | None = None,
        succeeded: Iterable[str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.store = store
        self.collection = collection
        self.key = key
        self.succeeded = None if succeeded is None else tuple(succeeded)

    def __str__(self) -> str:
        where = []
        if self.store is not None:
            where.append(f"store {self.store}")
        if self.collection is not None:
            where.append(f"collection {self.collection!r}")
        if self.key is not None:
            where.append(f"key {self.key!r}")
        if self.succeeded is not None:
            where.append(f"done before it failed: {len(self.succeeded)} keys")
        return f"{self.message} ({', '.join(where)})" if where else self.message


class InvalidKey(KvwrapError, ValueError):
    """A key or collection is empty, not a string, or not valid Unicode."""


class InvalidTTL(KvwrapError, ValueError):
    """A ttl is not a finite number of seconds above zero, a timedelta or `None`."""


class InvalidBatch(KvwrapError, ValueError):
    """The keys of a batch are a bare string, or keys and values differ in length."""


class InvalidValue(KvwrapError, ValueError):
    """A value is not what the operation or the `Validate` layer asks for."""


class KeyNotFound(KvwrapError, KeyError):
    """`require` found nothing under the key."""


class SerializationError(KvwrapError, ValueError):
    """The serializer could not bring this value back as it is; nothing was written."""


class CorruptEntry(KvwrapError, ValueError):
    """Stored bytes are truncated, altered, in another key's place, or not an entry."""


class DecryptionError(KvwrapError, ValueError):
    """Stored bytes do not open: wrong key, unknown key id, altered, or not encrypted."""


class ValueTooLarge(KvwrapError, ValueError):
    """A value is over the limit of a layer or of the backend; nothing was written."""


class ReadOnlyViolation(KvwrapError, PermissionError):
    """A write reached a store that only reads."""


class UnsupportedOperation(KvwrapError, NotImplementedError):
    """The named store or layer cannot do this."""


class ConfigurationError(KvwrapError, ValueError):
    """A store, layer or stack cannot work as it was described."""


class StoreUnavailable(KvwrapError, ConnectionError):
    """The backend did not answer, refused, or was closed; the cause is the driver's error."""


class StoreTimeout(StoreUnavailable, TimeoutError):
    """The backend did not answer in time."""


class StoreFull(StoreUnavailable):
    """The backend has no room or no capacity for this write at the moment."""


class CircuitOpen(StoreUnavailable):
    """A circuit breaker holds calls back after repeated failures of the backend."""


class RateLimited(StoreUnavailable):
    """A concurrency or rate limit had no room within the time allowed."""


class StackWarning(UserWarning):
    """A stack is built in a way that is a known mistake; the message begins with its code."""
