"""KeyValueStore over stores of py-key-value, the real package."""

from __future__ import annotations

import asyncio
import contextlib
import math
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest
import pytest_asyncio
import redis.asyncio
from key_value.aio import errors as theirs
from key_value.aio.stores.memory import MemoryStore
from key_value.aio.stores.redis import RedisStore
from key_value.aio.wrappers.limit_size import LimitSizeWrapper
from key_value.aio.wrappers.prefix_keys import PrefixKeysWrapper
from key_value.aio.wrappers.read_only import ReadOnlyWrapper

import kvwrap
from kvwrap import (
    Capability,
    ConfigurationError,
    CorruptEntry,
    KvwrapError,
    ReadOnlyViolation,
    StoreTimeout,
    StoreUnavailable,
    UnsupportedOperation,
    ValueTooLarge,
    adapt,
    stack,
)
from kvwrap.core.paging import PAGE_SIZE
from kvwrap.stores.key_value import KeyValueStore
from kvwrap.testing import ManualClock

OBJECTS: list[Any] = [{"x": 1}, {}, {"kvwrap": 1}, {"kvwrap": "x", "y": 1}]
OTHERS: list[Any] = [None, 0, "", [], [1], "text", False, 1.5, {"kvwrap": "x"}, {"kvwrap": ""}]


@pytest_asyncio.fixture(params=["memory", "redis"])
async def wrapped(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    if request.param == "memory":
        yield MemoryStore()
        return
    url = request.getfixturevalue("redis_url")
    async with redis.asyncio.Redis.from_url(url, decode_responses=True) as client:
        yield RedisStore(client=client, default_collection=uuid.uuid4().hex)


async def test_every_value_is_read_unchanged(wrapped: Any) -> None:
    store = adapt(wrapped)
    values = OBJECTS + OTHERS
    keys = [f"k{i}" for i in range(len(values))]
    for collection in (None, uuid.uuid4().hex):
        await store.put_many(keys, values, collection=collection)
        assert await store.get_many(keys, collection=collection) == values
        for key, value in zip(keys, values, strict=True):
            assert await store.get(key, collection=collection) == value
            assert await store.exists(key, collection=collection) is True


@pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")  # theirs
async def test_json_objects_are_shared_with_other_users_of_the_store(wrapped: Any) -> None:
    store = adapt(wrapped)
    for value in OBJECTS:
        await store.put("k", value, ttl=50)
        assert await wrapped.get("k") == value
        assert (await wrapped.ttl("k"))[1] == pytest.approx(50, abs=5)
        await wrapped.put("theirs", value, ttl=70)
        assert await store.get("theirs") == value
        assert (await store.ttl("theirs"))[1] == pytest.approx(70, abs=5)
    for value in OTHERS:
        await store.put("k", value)
        assert set(await wrapped.get("k")) == {"kvwrap"}


async def test_the_wrapped_store_is_never_closed_and_layers_work_over_it() -> None:
    wrapped = MemoryStore()
    async with stack().serialize("msgpack").prefix_collection("p").over(wrapped) as store:
        await store.put("k", {"b": b"bytes"}, collection="c")
        assert await store.get("k", collection="c") == {"b": b"bytes"}
        assert set((await wrapped.get("k", collection="pc")) or ()) == {"kvwrap"}
    assert await wrapped.get("k", collection="pc") is not None


async def test_bytes_of_another_codec_that_begin_like_an_object_are_no_object() -> None:
    wrapped = MemoryStore()
    store = stack().serialize("msgpack").over(wrapped)
    await store.put("k", ord("{"))
    assert await store.get("k") == ord("{")
    assert set(await wrapped.get("k") or ()) == {"kvwrap"}


async def test_exact_expiry_without_native_entries(clock: ManualClock) -> None:
    store = KeyValueStore(MemoryStore(), native=False, clock=clock)
    await store.put_many(["a", "b"], [{"x": 1}, 2], ttl=10)
    await store.put("c", {"x": 1}, ttl=20)
    clock.advance(10)
    assert await store.get_many(["a", "b", "c"]) == [None, None, {"x": 1}]
    assert await store.keys() == ["c"]
    assert await store.delete_many(["a", "b", "c"]) == 1
    assert await store.collections() == []


async def test_writing_an_expired_entry_removes_the_old_value() -> None:
    store = adapt(MemoryStore())
    await store.put("a", {"x": 1})
    (entry,) = await store.read(None, ["a"])
    assert entry is not None
    await store.write(None, ["a"], [entry.with_expiry(entry.created_at - 1)])
    assert await store.get("a") is None


async def test_a_very_long_ttl_is_limited_to_the_calendar_of_the_wrapped_store() -> None:
    store = adapt(MemoryStore())
    await store.put("a", {"x": 1}, ttl=1e18)
    assert await store.get("a") == {"x": 1}


async def test_deletions_return_whether_an_entry_existed() -> None:
    store = adapt(MemoryStore())
    await store.put_many(["a", "b"], [{"x": 1}, 2])
    assert await store.delete("none") is False
    assert await store.delete("a") is True
    assert await store.delete_many(["a", "b", "b", "c"]) == 1


async def test_a_store_can_be_written_to_after_its_collections_were_dropped() -> None:
    store = adapt(MemoryStore())
    for destroy in (lambda: store.destroy_collection("c"), store.destroy):
        await store.put("a", {"x": 1}, collection="c")
        assert await destroy() is True
        assert await store.keys("c") == []
        assert await store.collections() == []
        assert await destroy() is False
    await store.put("a", {"x": 1}, collection="c")
    assert await store.collections() == ["c"]


async def test_the_default_collection_has_no_name() -> None:
    store = adapt(MemoryStore(default_collection="home"))
    await store.put("a", 1)
    await store.put("b", 2, collection="c")
    assert await store.list_collections() == [None, "c"]
    assert await store.collections() == ["c"]
    assert await store.keys() == ["a"]


async def test_a_listing_is_never_silently_incomplete() -> None:
    store = adapt(MemoryStore())
    keys = [f"{i:05}" for i in range(9_999)]
    await store.put_many(keys, [{}] * len(keys))
    assert await store.keys() == keys
    await store.put_many(["x", "y"], [{}, {}])
    with pytest.raises(UnsupportedOperation, match="10000"):
        await store.keys()
    assert await store.destroy_collection(None) is True
    assert await store.keys() == []


async def test_capabilities_are_those_of_the_wrapped_store() -> None:
    full = adapt(MemoryStore())
    assert Capability.COLLECTIONS in full.capabilities
    assert Capability.COMPARE_AND_PUT not in full.capabilities
    bare = adapt(PrefixKeysWrapper(MemoryStore(), prefix="p"))
    assert bare.capabilities == frozenset()
    calls: list[Callable[[], Any]] = [bare.keys, bare.collections, bare.destroy]
    calls += [lambda: bare.destroy_collection("c"), lambda: full.put_if_absent("a", 1)]
    calls += [lambda: full.increment("a")]
    for call in calls:
        with pytest.raises(UnsupportedOperation):
            await call()
    await bare.put("a", [1])
    assert await bare.get("a") == [1]
    assert await bare.pop("a") == [1]


class Limited(MemoryStore):
    """A subclass of another module than the one that states the limit of a listing."""


class ManyCollections(MemoryStore):
    async def collections(self, *, limit: int | None = None) -> list[str]:
        return [str(number) for number in range(10_000)]


def test_only_a_store_of_theirs_in_memory_is_known_to_stay_in_the_process() -> None:
    traits = adapt(MemoryStore()).traits
    assert "adapted" not in traits
    for elsewhere in (Limited(), PrefixKeysWrapper(MemoryStore(), prefix="p")):
        assert adapt(elsewhere).traits == traits | {"adapted"}


class CountsKeys(MemoryStore):
    """Keeps the largest number of keys that one call was given."""

    most = 0

    async def ttl_many(self, keys: Sequence[str], **more: Any) -> Any:
        self.most = max(self.most, len(keys))
        return await super().ttl_many(keys, **more)

    async def delete_many(self, keys: Sequence[str], **more: Any) -> int:
        self.most = max(self.most, len(keys))
        return await super().delete_many(keys, **more)


async def test_a_large_collection_is_asked_for_a_page_at_a_time(clock: ManualClock) -> None:
    wrapped = CountsKeys()
    store = KeyValueStore(wrapped, native=False, clock=clock)
    names = [str(number) for number in range(3 * PAGE_SIZE)]
    await store.put_many(names, names, ttl=5, collection="c")
    assert len(await store.keys("c")) == len(names)
    clock.advance(5)
    assert await store.collections() == []
    assert await store.destroy_collection("c") is False
    assert await wrapped.keys("c") == []
    assert wrapped.most == PAGE_SIZE


async def test_the_limit_of_a_listing_is_that_of_the_class_that_lists() -> None:
    wrapped = Limited()
    await wrapped.put_many([str(i) for i in range(10_001)], [{}] * 10_001)
    with pytest.raises(UnsupportedOperation, match="10000 keys"):
        await adapt(wrapped).keys()
    with pytest.raises(UnsupportedOperation, match="10000 collections"):
        await adapt(ManyCollections()).collections()


class Whole:
    """A store that can drop whole collections, and can list nothing."""

    def __init__(self) -> None:
        self.wrapped = MemoryStore()
        self.dropped: list[str | None] = []

    def __getattr__(self, name: str) -> Any:
        if name in ("keys", "collections"):
            raise AttributeError(name)
        return getattr(self.wrapped, name)

    async def destroy_collection(self, collection: str | None) -> bool:
        self.dropped.append(collection)
        return True

    async def destroy(self) -> bool:
        self.dropped.append("everything")
        return True

    async def cull(self) -> None:
        self.dropped.append("culled")


async def test_what_only_the_wrapped_store_can_do_as_a_whole() -> None:
    wrapped = Whole()
    store = adapt(wrapped)
    assert store.capabilities == {
        Capability.DESTROY,
        Capability.DESTROY_COLLECTION,
        Capability.CULL,
    }
    with pytest.raises(UnsupportedOperation):
        await store.destroy_collection(None)  # its name there is not known
    assert await store.destroy_collection("c") is True
    await store.cull()
    assert await store.destroy() is True
    assert wrapped.dropped == ["c", "culled", "everything"]


async def test_conditions_are_refused_before_anything_changes() -> None:
    store = adapt(MemoryStore())
    await store.put("a", {"x": 1})
    (entry,) = await store.read(None, ["a"])
    assert entry is not None
    with pytest.raises(UnsupportedOperation):
        await store.remove(None, ["a"], [entry.version])
    with pytest.raises(UnsupportedOperation):
        await store.write(None, ["a"], [entry], [entry.version])
    assert await store.get("a") == {"x": 1}
    assert await store.remove(None, ["a"], [None]) == [True]


class Broken(MemoryStore):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    async def put(self, *arguments: Any, **more: Any) -> None:
        raise self.error

    async def ttl(self, *arguments: Any, **more: Any) -> Any:
        raise self.error


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (theirs.StoreConnectionError("secret"), StoreUnavailable),
        (theirs.ValueTooLargeError(5, 4), ValueTooLarge),
        (theirs.DecryptionError("secret"), kvwrap.DecryptionError),
        (theirs.CorruptedDataError("secret"), kvwrap.DecryptionError),
        (theirs.DeserializationError("secret"), CorruptEntry),
        (TimeoutError("secret"), StoreTimeout),
        (RuntimeError("secret"), StoreUnavailable),
    ],
)
async def test_errors_are_translated_and_keep_their_cause(
    error: Exception, kind: type[Exception]
) -> None:
    store = adapt(Broken(error))
    for call in (store.put("a", 1, collection="c"), store.get("a", collection="c")):
        with pytest.raises(kind) as caught:
            await call
        assert type(caught.value) is kind
        assert caught.value.__cause__ is error
        assert "secret" not in str(caught.value)


async def test_errors_of_wrappers_of_py_key_value() -> None:
    with pytest.raises(ValueTooLarge):
        await adapt(LimitSizeWrapper(MemoryStore(), max_size=10, raise_on_too_large=True)).put(
            "a", {"x": "y" * 100}
        )
    with pytest.raises(ReadOnlyViolation):
        await adapt(ReadOnlyWrapper(MemoryStore(), raise_on_write=True)).put("a", {"x": 1})


async def test_a_failure_in_the_middle_of_a_batch_names_the_keys_that_succeeded() -> None:
    wrapped = MemoryStore()
    store = adapt(wrapped)
    await store.put_many(["a", "b", "c"], [{}, {}, {}])
    entries = [entry for entry in await store.read(None, ["a", "b", "c"]) if entry is not None]
    last = entries[2].with_expiry(entries[2].created_at + 50)
    failing: Any = wrapped

    async def fail(*arguments: Any, **more: Any) -> None:
        raise RuntimeError

    failing.put = fail
    with pytest.raises(StoreUnavailable) as caught:
        await store.write(None, ["a", "b", "c"], [*entries[:2], last])
    assert caught.value.succeeded == ("a", "b")


async def test_a_broken_envelope_is_corrupt() -> None:
    wrapped = MemoryStore()
    store = adapt(wrapped)
    await store.put("a", [1])
    envelope = await wrapped.get("a")
    assert envelope is not None
    good = envelope["kvwrap"]
    for text in (good + "!", good[:4] + "\n" + good[4:], good[:-8]):
        await wrapped.put("a", {"kvwrap": text})
        with pytest.raises(CorruptEntry):
            await store.get("a")
    for text in ("not base64!", "", good[:-8], "AAAA"):
        await wrapped.put("b", {"kvwrap": text})
        with pytest.raises(CorruptEntry) as caught:
            await store.get("b")
        assert caught.value.key == "b"
    await wrapped.put("b", envelope)
    with pytest.raises(CorruptEntry):
        await store.get("b")
    assert await store.delete("b") is True


async def test_cancellation_passes_through() -> None:
    class Slow(MemoryStore):
        async def ttl(self, *arguments: Any, **more: Any) -> Any:
            await asyncio.sleep(60)

    task = asyncio.create_task(adapt(Slow()).get("a"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_an_object_without_the_methods_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="AsyncKeyValue"):
        KeyValueStore(object())
    with pytest.raises(ConfigurationError):
        adapt(MemoryStore)


def test_the_description_names_the_wrapped_store() -> None:
    assert repr(adapt(MemoryStore())) == "KeyValueStore(MemoryStore)"


class BreaksItsProtocol:
    """Returns an answer of the test's from every method that reads."""

    def __init__(self, one: Any, many: Any) -> None:
        self.one, self.many = one, many

    async def get(self, key: str, *, collection: str | None = None) -> Any:
        return self.one

    ttl = get

    async def get_many(self, keys: Any, *, collection: str | None = None) -> Any:
        return self.many

    ttl_many = get_many

    async def keys(self, collection: str | None = None) -> Any:
        return self.many

    async def collections(self) -> Any:
        return self.many

    async def put(self, *arguments: Any, **options: Any) -> bool:
        return True

    put_many = delete = delete_many = put


BROKEN: list[Any] = [
    *(None, "x", "xy", 5, b"xy", (1, 2, 3), (), {"a": 1}, [None, None, None], object()),
    *(({"a": 1}, "x"), ({"a": 1}, math.nan), ({"a": 1}, math.inf), ({"a": 1}, -math.inf)),
    *(({"a": 1}, True), ({"a": 1}, 10**400), ({"kvwrap": "A"}, None), ({"kvwrap": "é"}, None)),
    *(([1], None), ({1}, None), ({"a": {1}}, None), ({"\ud800": 1}, None), ({"a": 1}, 1e300)),
]


@pytest.mark.parametrize("answer", BROKEN, ids=map(repr, range(len(BROKEN))))
async def test_a_store_that_breaks_its_protocol_raises_errors_of_kvwrap(answer: Any) -> None:
    for many in (answer, [answer, answer], [answer], ["\ud800", ""]):
        for number in range(9):
            with contextlib.suppress(KvwrapError):
                await _call(adapt(BreaksItsProtocol(answer, many)), number)


def _call(store: kvwrap.Store, number: int) -> Awaitable[object]:
    match number:
        case 0:
            return store.get("k")
        case 1:
            return store.ttl("k")
        case 2:
            return store.delete("k")
        case 3:
            return store.get_many(["a", "b"])
        case 4:
            return store.delete_many(["a", "b"])
        case 5:
            return store.keys()
        case 6:
            return store.collections()
        case 7:
            return store.destroy()
        case _:
            return store.put("k", 1)


@pytest.mark.parametrize("ttl", ["x", math.nan, math.inf, -math.inf, True, False, 10**400])
async def test_a_ttl_that_is_no_number_of_seconds_is_an_outage(ttl: Any) -> None:
    with pytest.raises(StoreUnavailable, match="seconds or None"):
        await adapt(BreaksItsProtocol(({"a": 1}, ttl), [])).get("k")


@pytest.mark.parametrize("name", ["", "\ud800", "a\udfff", 5, None, b"a"])
async def test_a_name_that_is_none_is_an_outage(name: Any) -> None:
    store = adapt(BreaksItsProtocol(({"a": 1}, None), ["a", name]))
    with pytest.raises(StoreUnavailable, match="a list of names from `keys`"):
        await store.keys()
    with pytest.raises(StoreUnavailable, match="a list of names from `collections`"):
        await store.collections()


async def test_an_answer_that_is_too_short_is_an_outage() -> None:
    store = adapt(BreaksItsProtocol(({"a": 1}, None), [({"a": 1}, None)]))
    assert await store.get("k") == {"a": 1}
    with pytest.raises(StoreUnavailable, match="BreaksItsProtocol must return"):
        await store.get_many(["a", "b"])
    with pytest.raises(StoreUnavailable, match="a list of names from `keys`"):
        await store.keys()


async def test_a_check_asks_the_store() -> None:
    class Down(MemoryStore):
        async def get(self, key: str, *, collection: str | None = None) -> Any:
            raise OSError("down")

    await KeyValueStore(MemoryStore()).check()
    with pytest.raises(StoreUnavailable):
        await KeyValueStore(Down()).check()
