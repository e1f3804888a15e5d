"""AdaptedStore: values of other programs, native lifetimes, enumeration and transactions."""

from __future__ import annotations

import asyncio
import multiprocessing
import shelve
from pathlib import Path
from typing import Any

import pytest
from key_value.aio.stores.memory import MemoryStore as TheirMemoryStore

from kvwrap import (
    Capability,
    ConfigurationError,
    CorruptEntry,
    Keyring,
    MemoryStore,
    UnsupportedOperation,
    adapt,
    copy,
    stack,
)
from kvwrap.stores.adapted import AdaptedStore
from kvwrap.testing import ManualClock
from tests.stores.adapted.objects import (
    Awaited,
    KeyValueStore,
    Plain,
    make_diskcache,
    make_great_expectations,
    make_zict,
)


class Deleting(Plain):
    """Has every method of a simple cache."""

    def delete(self, key: str) -> None:
        self.content.pop(key, None)

    def keys(self) -> list[str]:
        return list(self.content)


# -- values of other programs ------------------------------------------------------------------


async def test_a_foreign_value_under_a_key_is_told_and_never_lost() -> None:
    plain = Deleting()
    plain.content |= {"k": b"theirs", "n": 5, "@c:k": "theirs"}
    before = dict(plain.content)
    async with adapt(plain) as store:
        for call in (
            lambda: store.get("k"),
            lambda: store.put("k", 1),
            lambda: store.delete("k"),
            lambda: store.put_many(["a", "n"], [1, 2]),
            lambda: store.get("k", collection="c"),
        ):
            with pytest.raises(CorruptEntry, match="a value of another program under this key"):
                await call()
        with pytest.raises(CorruptEntry) as raised:
            await store.get("k")
        assert "theirs" not in str(raised.value)
        assert (raised.value.store, raised.value.key) == ("AdaptedStore", "k")
        await store.put("mine", 1)
        assert await store.keys() == ["mine"]
        assert await store.collections() == []
        await store.cull()
        assert await store.destroy() is True
    assert plain.content == before


async def test_a_damaged_entry_can_be_replaced_and_removed() -> None:
    plain = Deleting()
    async with adapt(plain) as store:
        for change in (lambda: store.put("k", 2), lambda: store.delete("k")):
            await store.put("k", 1)
            plain.content["k"] = plain.content["k"][:-1]
            with pytest.raises(CorruptEntry, match="altered, truncated"):
                await store.get("k")
            await change()
        assert plain.content == {}


RAW: dict[str, Any] = {"a": {"x": [1, None]}, "n": 5, "t": "text", "b": b"bytes", "@c:k": [1]}


async def test_raw_values_of_an_object_that_holds_objects(tmp_path: Path) -> None:
    cache = make_diskcache(tmp_path)
    for name, value in RAW.items():
        cache[name] = value
    cache["set"] = {1}
    async with adapt(cache, raw=True) as store:
        assert await store.get_many(["a", "n", "t", "b"]) == [RAW["a"], 5, "text", b"bytes"]
        assert await store.get("k", collection="c") == [1]
        assert await store.keys() == ["a", "b", "n", "t"]
        for call in (lambda: store.get("set"), lambda: store.put("set", 1)):
            with pytest.raises(CorruptEntry, match="a set, which is of a type that cannot be read"):
                await call()
        assert await store.increment("n") == 6
        await store.put("new", {"y": 1}, ttl=100)
        assert cache["n"] == 6
        assert cache["new"] == {"y": 1}
        assert (await store.ttl("new"))[1] == pytest.approx(100, abs=60)
        assert await store.destroy() is True
    assert list(cache) == ["set"]
    cache.close()


async def test_what_cannot_be_read_is_left_by_a_copy_and_counted(tmp_path: Path) -> None:
    cache = make_diskcache(tmp_path)
    cache["a"], cache["b"], cache[5], cache["set"], cache["@bad"] = 1, {"x": 2}, 3, {4}, 5
    for raw, copied in ((True, 2), (False, 0)):
        async with adapt(cache, raw=raw) as store:
            report = await copy(store, MemoryStore())
        assert (report.seen, report.copied, report.left) == (copied, copied, 5 - copied)
    cache.close()


async def test_raw_values_of_an_object_that_holds_bytes(tmp_path: Path) -> None:
    files = make_zict(tmp_path)
    files["a"] = b'{"x": 1}'
    async with adapt(files, raw=True) as store:
        assert await store.get("a") == b'{"x": 1}'
        await store.put("b", b"mine")
        await store.put("header", b"\xabk like an entry")
        await store.put("ends", b"x", ttl=100)
        assert await store.get_many(["header", "ends"]) == [b"\xabk like an entry", b"x"]
    assert bytes(files["b"]) == b"mine"
    assert bytes(files["ends"])[:2] == b"\xabk"  # it must keep its end itself
    async with stack().serialize("json").over(adapt(files, raw=True)) as documents:
        assert await documents.get("a") == {"x": 1}
        await documents.put("a", {"x": 2})
    assert bytes(files["a"]) == b'{"x":2}'


async def test_raw_values_of_an_object_that_holds_text_or_json() -> None:
    plain = Plain()
    plain.content["page"] = "<html>"
    async with adapt(plain, form="text", raw=True) as store:
        assert await store.get("page") == "<html>"
        await store.put_many(["title", "other"], ["Title", {"x": 1}])
        assert await store.get_many(["title", "other"]) == ["Title", {"x": 1}]
    assert plain.content["title"] == "Title"
    assert plain.content["other"].startswith("kvwrap:")
    tags = KeyValueStore()
    tags.set("ada", {"visits": 1})
    async with adapt(tags, raw=True) as store:
        assert await store.get("ada") == {"visits": 1}
        await store.put_many(["bob", "list", "envelope"], [{"visits": 2}, [1], {"kvwrap": "x"}])
        assert await store.get_many(["list", "envelope"]) == [[1], {"kvwrap": "x"}]
    assert tags.get("bob") == {"visits": 2}
    assert set(tags.get("list") or {}) == {"kvwrap"}


async def test_layers_over_raw_values_encrypt_what_they_write() -> None:
    plain = Plain()
    plain.content["old"] = b"plain"
    layers = stack().encrypt(Keyring({"k": b"k" * 32}), accept_plaintext=True)
    async with layers.silence("migration-open").over(adapt(plain, raw=True)) as store:
        assert await store.get("old") == b"plain"
        await store.put("old", b"secret")
        assert await store.get("old") == b"secret"
    assert plain.content["old"][:2] == b"\xabk"
    assert b"secret" not in plain.content["old"]


# -- names ----------------------------------------------------------------------------------------


async def test_simple_names_are_the_names_in_the_object(tmp_path: Path) -> None:
    plain = Plain()
    async with adapt(plain) as store:
        await store.put("user:1", 1)
        await store.put("user:1", 1, collection="c")
        await store.put("with space", 1)
        await store.put("x" * 500, 1)
    assert {"user:1", "@c:user:1", "with%20space"} < set(plain.content)
    assert max(map(len, plain.content)) <= 200


async def test_long_names_of_files_are_listed_whole(tmp_path: Path) -> None:
    backend = make_great_expectations(tmp_path)
    names = sorted(["x" * 900, "x" * 901, "a/b", "é" * 400])
    async with adapt(backend) as store:
        await store.put_many(names, names, collection="c")
        assert await store.keys("c") == names
        assert await store.collections() == ["c"]
    assert backend.store_backend_id


# -- expiry -------------------------------------------------------------------------------------


async def test_without_a_way_to_remove_an_expired_entry_takes_the_place() -> None:
    plain = Plain()
    async with adapt(plain) as store:
        await store.put("k", "value")
        assert await store.delete("k") is True
        assert await store.delete("k") is False
        assert await store.exists("k") is False
        assert len(plain.content["k"]) < 40
        await store.put("k", "new")
        assert await store.get("k") == "new"


async def test_an_expired_entry_is_removed_by_cull_only(clock: ManualClock) -> None:
    plain = Deleting()
    async with adapt(plain, clock=clock) as store:
        await store.put_many(["a", "b"], [1, 2], ttl=[5, None])
        clock.advance(6)
        assert await store.keys() == ["b"]
        assert set(plain.content) == {"a", "b"}
        await store.cull()
        assert set(plain.content) == {"b"}


# -- conditional writes ---------------------------------------------------------------------------


def count(folder: str) -> None:
    """Add 50 to a counter, in a process of its own."""

    async def add() -> None:
        import diskcache

        cache = diskcache.Cache(folder)
        async with AdaptedStore(cache, timeout=60) as store:
            for _ in range(50):
                await store.increment("n")
        cache.close()

    asyncio.run(add())


async def test_processes_share_a_counter_in_diskcache_exactly(tmp_path: Path) -> None:
    folder = str(tmp_path / "diskcache")
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=count, args=(folder,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        await asyncio.get_running_loop().run_in_executor(None, process.join)
    cache = make_diskcache(tmp_path)
    async with adapt(cache) as store:
        assert await store.get("n") == 100
    cache.close()


@pytest.mark.parametrize("make", [Plain, Awaited])
async def test_conditional_writes_are_refused_without_transactions(make: type[Any]) -> None:
    async with adapt(make()) as store:
        assert Capability.COMPARE_AND_PUT not in store.capabilities
        for call in (lambda: store.put_if_absent("k", 1), lambda: store.increment("n")):
            with pytest.raises(UnsupportedOperation, match="AdaptedStore cannot compare and put"):
                await call()


async def test_a_shelf_is_encrypted_and_kept(tmp_path: Path) -> None:
    layers = stack().compress(min_size=0).encrypt(Keyring({"k": b"k" * 32}))
    with shelve.open(str(tmp_path / "shelf")) as shelf:
        async with layers.over(shelf) as store:
            await store.put("k", {"x": "hunter2" * 100}, ttl=1000)
    with shelve.open(str(tmp_path / "shelf")) as shelf:
        assert b"hunter2" not in shelf["k"]
        async with layers.over(shelf) as store:
            assert await store.get("k") == {"x": "hunter2" * 100}
            assert "hunter2" not in store.explain() + repr(store)


# -- the default collection -----------------------------------------------------------------------


@pytest.mark.parametrize("make", [Deleting, dict, TheirMemoryStore], ids=lambda each: each.__name__)
async def test_the_default_collection_may_have_a_name(make: Any) -> None:
    obj = make()
    layers = stack().encrypt(Keyring({"k": b"k" * 32}))
    async with layers.over(adapt(obj, default_collection="home")) as store:
        await store.put("k", {"n": 1})
        assert await store.get("k", collection="home") == {"n": 1}
        assert await store.collections() == ["home"]
    async with layers.over(adapt(obj)) as store:
        assert await store.get("k") is None
        assert await store.get("k", collection="home") == {"n": 1}


@pytest.mark.parametrize("make", [Deleting, dict], ids=lambda each: each.__name__)
def test_values_of_others_are_in_no_collection_with_a_name(make: Any) -> None:
    with pytest.raises(ConfigurationError, match="`default_collection` must be left out"):
        adapt(make(), raw=True, default_collection="home")


async def test_a_foreign_value_in_a_mapping_or_a_store_is_told_and_kept() -> None:
    content: dict[str, Any] = {"k": {1, 2}, "b": b"\xabk no entry"}
    async with adapt(content) as store:
        for key in ("k", "b"):
            with pytest.raises(CorruptEntry):
                await store.get(key)
    assert content == {"k": {1, 2}, "b": b"\xabk no entry"}

    class Foreign(TheirMemoryStore):
        async def ttl(self, key: str, *, collection: str | None = None) -> Any:
            return {1, 2}, None

    async with stack().compress().over(Foreign()) as layered:
        with pytest.raises(CorruptEntry, match="must hold JSON objects; it holds a set"):
            await layered.get("k")
