"""Every error that kvwrap raises.

Each derives from `KvwrapError` and from the matching built-in exception, so code that
knows nothing of kvwrap catches it too. Messages name the store, the collection and the
key. They never contain a value, a password or an encryption key.

`StoreUnavailable` and its subclasses are outages: the same call may succeed later, and calls for
other keys fail too. Every other error is a refusal of this call: the backend answers, and refuses
this entry or key for good (`ValueTooLarge`, `AccessDenied`, `CorruptEntry`, …). A layer that keeps
changes for later sets such a change aside and goes on with the others.
"""

from __future__ import annotations

from collections.abc import Iterable


class KvwrapError(Exception):
    """Base of all errors of kvwrap.

    Attributes:
        store: Name of the store or layer that raised the error, or `None` if not known.
        collection: Collection of the failed operation, under the name that this store or layer
            uses; `None` is the default collection.
        key: Key of the failed operation, likewise, or `None` if there is no single key.
        succeeded: Keys of a batch for which the operation had succeeded when it failed, under
            the caller's names. `None` if the error does not come from the middle of a batch.
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
        context = []
        if self.store is not None:
            context.append(f"store {self.store}")
        if self.collection is not None:
            context.append(f"collection {self.collection!r}")
        if self.key is not None:
            context.append(f"key {self.key!r}")
        if self.succeeded is not None:
            context.append(f"succeeded before the failure: {len(self.succeeded)} keys")
        return f"{self.message} ({', '.join(context)})" if context else self.message


class InvalidKey(KvwrapError, ValueError):
    """A key or collection is empty, not a string, or not valid Unicode."""


class InvalidTTL(KvwrapError, ValueError):
    """A ttl is not a finite number of seconds above 0, a timedelta or `None`."""


class InvalidBatch(KvwrapError, ValueError):
    """The keys of a batch are a bare string, or keys and values differ in length."""


class InvalidValue(KvwrapError, ValueError):
    """A value is not of the kind that the operation, the model or the `Validate` layer requires."""


class KeyNotFound(KvwrapError, KeyError):
    """`require` found nothing under the key."""


class SerializationError(KvwrapError, ValueError):
    """The serializer cannot store this value so that it loads unchanged; nothing was written."""


class CorruptEntry(KvwrapError, ValueError):
    """Stored bytes are truncated, altered, stored under another key, or not an entry.

    Writing raises it too, where the backend has something under the key that it must not replace.
    """


class DecryptionError(KvwrapError, ValueError):
    """Stored bytes cannot be decrypted: wrong key, unknown key id, altered, or not encrypted."""


class ValueTooLarge(KvwrapError, ValueError):
    """A value exceeds the size limit of a layer or of the backend; nothing was written."""


class ReadOnlyViolation(KvwrapError, PermissionError):
    """A write reached a store that is read-only."""


class AccessDenied(KvwrapError, PermissionError):
    """The backend does not permit this login to use this key; it answers for other keys."""


class UnsupportedOperation(KvwrapError, NotImplementedError):
    """The named store or layer does not support this operation."""


class ConfigurationError(KvwrapError, ValueError):
    """A store, layer or stack cannot work with the arguments it was given."""


class Deadlock(KvwrapError, RuntimeError):
    """A call needs a result or a lock that waits for this call itself, so neither could end."""


class LockTimeout(KvwrapError, TimeoutError):
    """A lock was not to be had within the time that its caller waits; others hold it."""


class LockLost(KvwrapError, RuntimeError):
    """The lock of a block was lost before the block ended: another one may hold it since."""


class SharedValueChanged(KvwrapError, RuntimeError):
    """A value that several callers share was changed by one of them (in debug mode only)."""


class StoreUnavailable(KvwrapError, ConnectionError):
    """The backend did not respond, refused, or was closed; the cause is the driver's error."""


class StoreTimeout(StoreUnavailable, TimeoutError):
    """The backend did not respond in time."""


class StoreFull(StoreUnavailable):
    """The backend has no space or no capacity for this write at the moment."""


class CircuitOpen(StoreUnavailable):
    """A circuit breaker rejects calls after repeated failures of the backend."""


class RateLimited(StoreUnavailable):
    """A concurrency or rate limit admitted no call within the time allowed."""


class StackWarning(UserWarning):
    """A stack is built in a way known to be a mistake; the message begins with its code."""
