"""Routes of entries, enumerations over several stores, and batches that fail in part."""

from __future__ import annotations

import pytest

from kvwrap import (
    Capability,
    ConfigurationError,
    MemoryStore,
    StackWarning,
    StoreUnavailable,
    UnsupportedOperation,
    stack,
)
from kvwrap.core.layer import Layer
from kvwrap.layers.routing import Routing
from kvwrap.stores.null import NullStore
from kvwrap.testing import ManualClock
from tests.layers.faulty import FaultyStore
from tests.layers.without_capabilities import WithoutCapabilities


def by_first_letter(collection: str | None, key: str) -> str | None:
    return {"a": "first", "b": "second"}.get(key[0])


async def test_a_collection_goes_to_the_first_pattern_that_matches() -> None:
    sessions, logs, inner = MemoryStore(), MemoryStore(), MemoryStore()
    store = Routing({"sessions": sessions, "log-*": logs, "log-special": NullStore}).over(inner)
    for collection in ("sessions", "log-a", "log-special", "Sessions", None):
        await store.put("k", {"in": collection}, collection=collection)
    assert await sessions.collections() == ["sessions"]
    assert await logs.collections() == ["log-a", "log-special"]
    assert await inner.collections() == ["Sessions"]
    assert await inner.get("k") == {"in": None}
    for collection in ("sessions", "log-a", "log-special", "Sessions", None):
        assert await store.get("k", collection=collection) == {"in": collection}


async def test_enumerations_merge_all_stores_and_destroy_reaches_all() -> None:
    a, b = MemoryStore(), MemoryStore()
    store = Routing({"a": a, "b": b}).over(MemoryStore())
    for collection in ("b", "a", "c"):
        await store.put_many(["y", "x"], [1, 2], collection=collection)
    assert await store.collections() == ["a", "b", "c"]
    assert await store.keys("b") == ["x", "y"]
    assert await store.destroy_collection("b")
    assert not await store.destroy_collection("b")
    assert await store.collections() == ["a", "c"]
    assert await store.destroy()
    assert await store.collections() == []
    assert await a.collections() == []


async def test_a_collection_of_one_store_is_counted_and_deleted_by_it(
    backend: FaultyStore, other: FaultyStore
) -> None:
    store = Routing({"sessions": other}).over(backend)
    await store.put_many(["a1", "a2", "b"], [1, 2, 3], collection="sessions")
    other.calls.clear()
    assert await store.count(collection="sessions", prefix="a") == 2
    assert await store.delete_where(collection="sessions", prefix="a") == 2
    assert [name for name, _, _ in other.calls] == ["count_range", "drop_range"]
    assert backend.calls == []


async def test_an_entry_that_no_read_would_find_is_not_listed() -> None:
    route, base = MemoryStore(), MemoryStore()
    await base.put("old", 1, collection="routed")
    await route.put("stray", 1, collection="other")
    store = Routing({"routed": route}).over(base)
    assert await store.collections() == []
    assert await store.keys("routed") == []
    assert not await store.destroy_collection("routed")
    assert await base.get("old", collection="routed") == 1


async def test_keys_are_routed_by_pattern() -> None:
    users, base = MemoryStore(), MemoryStore()
    store = Routing({"user:*": users}, by="key").over(base)
    await store.put_many(["user:1", "job:1", "user:2"], [1, 2, 3])
    assert await users.keys() == ["user:1", "user:2"]
    assert await base.keys() == ["job:1"]
    assert await store.keys() == ["job:1", "user:1", "user:2"]
    assert await store.get_many(["user:2", "none", "job:1"]) == [3, None, 2]
    assert await store.move("user:1", "job:2")
    assert await base.get("job:2") == 1


async def test_a_batch_is_one_call_per_store() -> None:
    first, second, base = FaultyStore(), FaultyStore(), FaultyStore()
    layer = Routing({"first": first, "second": second}, choose=by_first_letter)
    store = layer.over(base)
    keys = ["a1", "b1", "c1", "a2", "b2", "c2"]
    await store.put_many(keys, list(range(6)))
    assert await store.get_many(keys) == list(range(6))
    assert await store.delete_many(keys) == 6
    for part in (first, second, base):
        assert [part.count(name) for name in ("write", "read", "remove")] == [1, 1, 1]


async def test_the_error_of_a_failing_store_names_the_keys_that_succeeded() -> None:
    second = FaultyStore()
    layer = Routing({"first": MemoryStore, "second": second}, choose=by_first_letter)
    store = layer.over(MemoryStore())
    second.down = True
    with pytest.raises(StoreUnavailable) as caught:
        await store.put_many(["a1", "b1", "c1", "a2"], [1, 2, 3, 4])
    assert caught.value.succeeded == ("a1", "c1", "a2")
    second.down = False
    assert await store.get_many(["a1", "b1", "c1", "a2"]) == [1, None, 3, 4]
    second.down = True
    with pytest.raises(StoreUnavailable) as caught:
        await store.get_many(["a1", "b1"])
    assert caught.value.succeeded is None  # nothing was changed
    with pytest.raises(StoreUnavailable) as caught:
        await store.touch(None, ["a1", "b1"], [None, None])
    assert caught.value.succeeded == ("a1",)
    with pytest.raises(StoreUnavailable) as caught:
        await store.delete_many(["b1", "c1"])
    assert caught.value.succeeded == ("c1",)
    with pytest.raises(StoreUnavailable):
        await store.check()


async def test_versions_expiry_and_increments_follow_the_route(clock: ManualClock) -> None:
    a = MemoryStore(clock=clock)
    store = Routing({"a": a}).over(MemoryStore(clock=clock))
    assert await store.increment("n", collection="a") == 1
    assert await store.increment("n", collection="a") == 2
    assert await a.get("n", collection="a") == 2
    assert await store.expire("n", 5, collection="a")
    clock.advance(6)
    assert not await store.exists("n", collection="a")


async def test_capabilities_are_those_of_all_stores() -> None:
    class Plain(MemoryStore):
        capabilities = frozenset({Capability.CULL})

        async def list_keys(self, *_: object) -> object:  # type: ignore[override]  # refuses
            raise UnsupportedOperation("no keys", store=self.name)

    store = Routing({"a": Plain}, by="key").over(MemoryStore())
    assert store.capabilities == {Capability.CULL}
    with pytest.raises(UnsupportedOperation, match="Plain"):
        await store.keys()


async def test_a_collection_whose_store_compares_versions_has_conditional_writes() -> None:
    plain = WithoutCapabilities(Capability.COMPARE_AND_PUT).over(MemoryStore())
    store = Routing({"a": MemoryStore, "b": plain}).over(MemoryStore())
    assert Capability.COMPARE_AND_PUT not in store.capabilities
    assert await store.put_if_absent("k", 1, collection="a")
    assert not await store.put_if_absent("k", 2, collection="a")
    by_key = Routing({"a": MemoryStore}, by="key").over(
        WithoutCapabilities(Capability.COMPARE_AND_PUT).over(MemoryStore())
    )
    for call in (by_key.put_if_absent("a", 1), by_key.compare_and_delete("a", 1)):
        with pytest.raises(UnsupportedOperation, match="compare versions"):
            await call
    await by_key.put_many(["a", "b"], [1, 2])
    assert await by_key.delete_many(["a", "b"]) == 2


@pytest.mark.parametrize(
    "arguments",
    [{"routes": {}}, {"routes": []}, {"routes": {"a": MemoryStore}, "by": "value"}],
)
def test_invalid_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Routing(**arguments)  # type: ignore[arg-type]  # invalid on purpose


async def test_a_choice_that_is_not_a_route_is_named_in_the_error() -> None:
    store = Routing({"a": MemoryStore}, choose=lambda c, k: "nowhere").over(MemoryStore())
    with pytest.raises(ConfigurationError, match="'nowhere'"):
        await store.put("k", 1)


async def test_each_stack_needs_its_own_stores() -> None:
    shared = MemoryStore()
    routes = stack().route({"a": shared})
    routes.over(MemoryStore())
    with pytest.raises(ConfigurationError, match="factory"):
        routes.over(MemoryStore())


class OnDisk(MemoryStore):
    capabilities = MemoryStore.capabilities | {Capability.PERSISTENT}


class Encrypts(Layer):
    traits = frozenset({"encrypts"})


def test_a_layer_under_only_one_store_is_reported() -> None:
    with pytest.warns(StackWarning) as warned:
        stack(Routing({"a": OnDisk}), Encrypts()).over(MemoryStore())
    codes = {str(warning.message).partition(":")[0] for warning in warned}
    assert codes == {"plaintext-second-store", "layer-under-one-store"}
    assert stack(Encrypts(), Routing({"a": OnDisk})).over(MemoryStore()).findings == ()
