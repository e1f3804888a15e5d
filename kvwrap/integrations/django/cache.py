"""A cache backend of Django over any stack."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, TypeVar

from asgiref.sync import sync_to_async
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.utils.module_loading import import_string

from kvwrap.config.load import from_config
from kvwrap.config.reader import store_from_url
from kvwrap.core.capability import Capability
from kvwrap.core.store import Store
from kvwrap.errors import ConfigurationError, InvalidValue, KeyNotFound, SerializationError
from kvwrap.layers.serialization import Serialization
from kvwrap.views.sync import SyncStore

T = TypeVar("T")

COLLECTION: Final = "django-cache"

_OPTIONS: Final = {"collection", "serializer"}
_UNUSED: Final = {"MAX_ENTRIES", "CULL_FREQUENCY"}


class StoreCache(BaseCache):
    """Keeps the entries of a cache in a store or a stack.

    `LOCATION` is the dotted path of a store, or of a function that returns one; or a URL such as
    `redis://localhost`; or the path of a TOML file that describes a stack. All caches of one
    location in this process share it, and it is opened with the first call.

    The `OPTIONS` are `collection`, the collection of the entries, and `serializer`, such as
    "pickle", for values that are not JSON. `MAX_ENTRIES` and `CULL_FREQUENCY` are ignored: limits
    are those of the store.

    The methods raise the errors of the store, and what Django's caches raise: `ValueError` by
    `incr` of a missing key, `PickleError` for a value that cannot be pickled. The async methods
    call the blocking ones on the thread that Django has for async callers. A blocking method that
    is called where an event loop runs blocks the loop, as those of Django's caches do.
    """

    def __init__(self, location: str, params: Mapping[str, Any]) -> None:
        super().__init__(params)
        options = dict(params.get("OPTIONS", {}))
        if unknown := sorted(options.keys() - _OPTIONS - _UNUSED):
            raise ConfigurationError(
                f"the OPTIONS of a StoreCache must be {', '.join(sorted(_OPTIONS))}; got {unknown}"
            )
        self._location = location
        self._collection = options.get("collection", COLLECTION)
        self._serializer = options.get("serializer")

    @property
    def store(self) -> SyncStore:
        """The blocking view of the store, which the caches of one location share."""
        return shared_view(self._location, self._serializer)

    def _key(self, key: Any, version: int | None) -> str:
        return str(self.make_and_validate_key(key, version=version))

    def _ttl(self, timeout: Any) -> float | None:
        """Return the seconds to keep an entry; None for ever, 0 or less for not at all."""
        ttl: float | None = self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout
        return ttl

    # -- one key -----------------------------------------------------------------------

    def add(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> bool:
        """Set a value unless there is one. Returns True if it was set.

        This is atomic if the store has `Capability.COMPARE_AND_PUT`.
        """
        name, ttl, store = self._key(key, version), self._ttl(timeout), self.store
        if (ttl is not None and ttl <= 0) or Capability.COMPARE_AND_PUT not in store.capabilities:
            if store.exists(name, collection=self._collection):
                return False
            self._put({name: value}, ttl)
            return True
        prepared = self._prepare(value)
        return store.put_if_absent(name, prepared, collection=self._collection, ttl=ttl)

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        """Return a value, or the default if it is missing."""
        try:
            return self.store.require(self._key(key, version), collection=self._collection)
        except KeyNotFound:
            return default

    def set(
        self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> None:
        """Set a value."""
        self._put({self._key(key, version): value}, self._ttl(timeout))

    def _put(self, values: Mapping[str, Any], ttl: float | None) -> None:
        names, store = list(values), self.store
        if ttl is not None and ttl <= 0:
            store.delete_many(names, collection=self._collection)
        elif names:
            prepared = list(map(self._prepare, values.values()))
            store.put_many(names, prepared, collection=self._collection, ttl=ttl)

    def _prepare(self, value: Any) -> Any:
        """Pickle a value here, since that may use the database of this thread."""
        return _Pickled(value) if self._serializer == "pickle" else value

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> bool:
        """Set a new timeout. Returns True if there is a value."""
        name, ttl = self._key(key, version), self._ttl(timeout)
        if ttl is not None and ttl <= 0:
            return self.store.delete(name, collection=self._collection)
        return self.store.expire(name, ttl, collection=self._collection)

    def delete(self, key: Any, version: int | None = None) -> bool:
        """Delete a value. Returns True if there was one."""
        return self.store.delete(self._key(key, version), collection=self._collection)

    def has_key(self, key: Any, version: int | None = None) -> bool:
        """Return True if there is a value."""
        return self.store.exists(self._key(key, version), collection=self._collection)

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Add to an integer, atomically, and return the sum. It keeps its timeout.

        Raises:
            ValueError: There is no value.
            TypeError: It is not an integer, or `delta` is not.
            UnsupportedOperation: The store has no conditional writes.
        """
        name = self._key(key, version)
        if type(delta) is not int:
            raise _WrongType(f"`delta` must be an int; got {type(delta).__name__}")
        if not self.store.exists(name, collection=self._collection):
            raise _missing(key)
        # One that expires now begins with 0, and with the timeout of new ones.
        ttl = self.default_timeout
        try:
            return self.store.increment(name, delta, collection=self._collection, ttl=ttl)
        except InvalidValue as error:
            raise _WrongType(error.message, store=error.store, key=error.key) from None

    def incr_version(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Move a value to a higher version, and return that. It keeps its timeout.

        Raises:
            ValueError: There is no value.
        """
        old = self.version if version is None else version
        names = self._key(key, old), self._key(key, old + delta)
        if not self.store.move(*names, collection=self._collection):
            raise _missing(key)
        return int(old + delta)

    # -- many keys ---------------------------------------------------------------------

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """Return the values that there are, in one batch."""
        names = {self._key(key, version): key for key in keys}
        found = self.store._get_existing(list(names), self._collection) if names else {}
        return {names[name]: value for name, value in found.items()}

    def set_many(
        self,
        data: Mapping[Any, Any],
        timeout: Any = DEFAULT_TIMEOUT,
        version: int | None = None,
    ) -> list[Any]:
        """Set values in one batch. Returns an empty list: what fails is an error."""
        values = {self._key(key, version): value for key, value in data.items()}
        self._put(values, self._ttl(timeout))
        return []

    def delete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        """Delete values in one batch."""
        names = [self._key(key, version) for key in keys]
        if names:
            self.store.delete_many(names, collection=self._collection)

    def clear(self) -> None:
        """Delete all values in the collection of this cache, whatever their prefix and version."""
        store = self.store
        if Capability.DESTROY_COLLECTION in store.capabilities:
            store.destroy_collection(self._collection)
        else:
            store.delete_where(collection=self._collection)

    # -- async methods that Django would make of several calls ---------------------------

    async def aget_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        """Do what `get_many` does."""
        return await _call(lambda: self.get_many(keys, version))

    async def aset_many(
        self,
        data: Mapping[Any, Any],
        timeout: Any = DEFAULT_TIMEOUT,  # noqa: ASYNC109  # Django's name, of a lifetime
        version: int | None = None,
    ) -> list[Any]:
        """Do what `set_many` does."""
        return await _call(lambda: self.set_many(data, timeout, version))

    async def adelete_many(self, keys: Iterable[Any], version: int | None = None) -> None:
        """Do what `delete_many` does."""
        await _call(lambda: self.delete_many(keys, version))

    async def ahas_key(self, key: Any, version: int | None = None) -> bool:
        """Do what `has_key` does."""
        return await _call(lambda: self.has_key(key, version))

    async def aincr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Do what `incr` does."""
        return await _call(lambda: self.incr(key, delta, version))

    async def aincr_version(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Do what `incr_version` does."""
        return await _call(lambda: self.incr_version(key, delta, version))


class _Unpicklable(SerializationError, pickle.PickleError):
    """A value cannot be pickled."""


class _WrongType(InvalidValue, TypeError):
    """A number is not an int."""


class _Missing(KeyNotFound, ValueError):
    """`incr` found nothing under the key."""


def _missing(key: object) -> _Missing:
    return _Missing(f"the cache must have a value under the key; it has none under {key!r}")


class _Pickled:
    """A value that has been pickled."""

    def __init__(self, value: object) -> None:
        try:
            self.data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # whatever the value's own code raises
            kind = type(value).__name__
            raise _Unpicklable(f"the value must be picklable; got one of type {kind}") from error


class _Pickle:
    """Pickles what has not been pickled."""

    name = "django-pickle"
    loads = staticmethod(pickle.loads)

    def dumps(self, value: Any) -> bytes:
        return (value if isinstance(value, _Pickled) else _Pickled(value)).data


async def _call(function: Callable[[], T]) -> T:
    result: T = await sync_to_async(function, thread_sensitive=True)()
    return result


# -- stores that caches share ---------------------------------------------------------------

_SerializerName = Literal["json", "msgpack", "pickle"]
_views: dict[tuple[int, str, _SerializerName | None], SyncStore] = {}
_lock = threading.Lock()


def shared_view(location: str, serializer: _SerializerName | None) -> SyncStore:
    """Return the view of a location, since Django makes a cache object for each thread."""
    # Of this process: a forked child gets one of its own.
    name = os.getpid(), location, serializer
    view = _views.get(name)
    if view is None:
        with _lock:
            view = _views.get(name)
            if view is None:
                view = _views[name] = _make_view(location, serializer)
    return view


def _make_view(location: str, serializer: _SerializerName | None) -> SyncStore:
    found = _find(location)
    if isinstance(found, SyncStore):
        if serializer is not None:
            raise ConfigurationError(
                "the option `serializer` must be left out for a blocking view; give its stack the "
                f"layer .serialize({serializer!r})"
            )
        return found
    if not isinstance(found, Store):
        raise ConfigurationError(
            "the LOCATION of a StoreCache must lead to a store, or to a function that returns one; "
            f"{location!r} leads to a {type(found).__name__}"
        )
    if serializer is not None:
        found = Serialization(_Pickle() if serializer == "pickle" else serializer).over(found)
    # Django's async sessions call blocking methods of caches where an event loop runs.
    return SyncStore(found, blocks_loops=True)


def _find(location: str) -> Any:
    if "://" in location:
        return store_from_url(location)
    if location.endswith(".toml"):
        return from_config(location)
    try:
        found = import_string(location)
    except ImportError as error:
        raise ConfigurationError(
            "the LOCATION of a StoreCache must be the dotted path of a store or of a function that "
            f"returns one, a URL, or the path of a TOML file; {location!r} cannot be imported"
        ) from error
    return found if isinstance(found, Store | SyncStore) or not callable(found) else found()
