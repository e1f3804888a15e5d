"""What an invalidation hides, from which methods, and what it leaves."""

from __future__ import annotations

import pickle
from pathlib import Path

import msgspec
import pytest

from kvwrap import (
    ConfigurationError,
    CorruptEntry,
    Keyring,
    MemoryStore,
    SQLiteStore,
    Store,
    Tags,
    UnsupportedOperation,
    rewrite,
    stack,
)
from kvwrap.core.figures import collect
from kvwrap.layers.base import KeyRange
from kvwrap.layers.tags.records import TagRecord
from kvwrap.layers.tags.snapshots import MARK_BYTES, VERSION_BYTES
from kvwrap.testing import ManualClock
from tests.layers.tags.shared import RECORDS, SECRET, Counting, tagged
from tests.layers.without_capabilities import WithoutCapabilities


async def filled(store: Store) -> Tags:
    await store.put("a", 1, tags=["user:1", "page"])
    await store.put_many(["b", "c"], [2, 3], tags=["page"])
    await store.put("d", 4)
    return store.find(Tags)


async def test_an_invalidated_tag_ends_its_entries_only(clock: ManualClock) -> None:
    store = tagged(clock)
    tags = await filled(store)
    await tags.invalidate("user:1", "of no entry")
    assert await store.get_many(["a", "b", "c", "d"]) == [None, 2, 3, 4]
    await tags.invalidate("page")
    assert await store.get_many(["a", "b", "c", "d"]) == [None, None, None, 4]


async def test_it_is_missing_for_every_method(clock: ManualClock) -> None:
    store = tagged(clock)
    tags = await filled(store)
    old = await store.get_versioned("a")
    assert old is not None
    await store.put("x", 1, collection="only", tags=["page"])
    await tags.invalidate("page")
    assert await store.get("a") is None
    assert not await store.exists("a")
    assert await store.ttl("a") == (None, None)
    assert await store.get_versioned("a") is None
    assert await store.keys() == ["d"]
    assert [pair async for pair in store.items()] == [("d", 4)]
    assert await store.count() == 1
    assert await store.collections() == []
    assert not await store.expire("a", 9)
    assert not await store.compare_and_put("a", 5, old.version)
    assert not await store.compare_and_delete("b", old.version)
    assert not await store.delete("b")
    assert await store.put_if_absent("a", 6)
    assert await store.get("a") == 6
    assert await store.increment("c", 2) == 2


async def test_cull_frees_the_space(clock: ManualClock) -> None:
    store = tagged(clock)
    tags = await filled(store)
    await tags.invalidate("page")
    assert sorted(await store.base.keys()) == ["a", "b", "c", "d"]
    await store.cull()
    assert await store.base.keys() == ["d"]


async def test_an_invalidation_writes_as_much_for_many_entries(clock: ManualClock) -> None:
    store = tagged(clock)
    keys = [str(number) for number in range(1_000)]
    await store.put_many(keys, keys, tags=["all of them"])
    calls = store.find(Counting).calls
    calls.clear()
    await store.find(Tags).invalidate("all of them")
    assert calls == {"write of records": 2}
    assert await store.count() == 0


async def test_an_entry_that_is_put_again_has_the_new_tags_only(clock: ManualClock) -> None:
    store = tagged(clock)
    tags = await filled(store)
    await store.put("a", 5, tags=["other"])
    await store.put("b", 6)
    await tags.invalidate("page", "user:1")
    assert await store.get_many(["a", "b"]) == [5, 6]
    await store.put("c", 7, tags=["page"])
    assert await store.get("c") == 7
    await tags.invalidate("other")
    assert await store.get_many(["a", "b"]) == [None, 6]


async def test_clear_ends_everything(clock: ManualClock) -> None:
    base = MemoryStore(clock=clock)
    await base.put("before the layer", 1)
    store = stack().tags().over(base)
    tags = await filled(store)
    assert await store.get("before the layer") == 1
    await tags.clear()
    assert await store.keys() == []
    await store.put("d", 8)
    await store.put("a", 9, tags=["page"])
    assert sorted(await store.keys()) == ["a", "d"]
    await tags.clear()
    assert await store.keys() == []


async def test_what_keeps_an_entry_keeps_its_tags(clock: ManualClock) -> None:
    store = (stack().slide_ttl(100, at_most_every=1).tags()).over(MemoryStore(clock=clock))
    async with store:
        for key in "abcd":
            await store.put(key, 1, ttl=50, tags=["t"])
        await store.increment("a")
        await store.move("b", "e")
        await store.expire("c", 70)
        clock.advance(10)
        assert await store.get("d") == 1  # renewed
    async with store:
        assert await store.get_many(["a", "c", "d", "e"]) == [2, 1, 1, 1]
        await store.find(Tags).invalidate("t")
        assert await store.keys() == []


async def test_a_renewal_does_not_bring_back_what_was_cleared(clock: ManualClock) -> None:
    store = (stack().slide_ttl(100, at_most_every=1).tags()).over(MemoryStore(clock=clock))
    async with store:
        await store.put("a", 1, ttl=50)
        clock.advance(10)
        assert await store.get("a") == 1
        await store.find(Tags).clear()
    async with store:
        assert await store.get("a") is None


@pytest.mark.parametrize("lost", ["all", "tag"])
async def test_a_lost_record_counts_as_invalidated(clock: ManualClock, lost: str) -> None:
    store = tagged(clock)
    await filled(store)
    records = await store.base.list_keys(RECORDS, KeyRange(), None)
    gone = [key for key in records.keys if key.startswith(lost)]
    assert gone
    await store.base.remove(RECORDS, gone)
    assert await store.get("a") is None
    await store.put("a", 5, tags=["page", "user:1"])
    assert await store.get("a") == 5


async def test_a_damaged_record_counts_as_invalidated(clock: ManualClock) -> None:
    store = tagged(clock)
    await filled(store)
    page = await store.base.list_keys(RECORDS, KeyRange(), None)
    found = await store.base.read(RECORDS, page.keys)
    damaged = [entry.with_body(b"\x93", entry.codec) for entry in found if entry is not None]
    await store.base.write(RECORDS, page.keys, damaged)
    assert await store.get_many(["a", "d"]) == [None, None]


@pytest.mark.parametrize(
    "body",
    [
        b"\x93",
        msgspec.msgpack.encode(TagRecord(bytes(VERSION_BYTES - 1), bytes(MARK_BYTES))),
        msgspec.msgpack.encode(TagRecord(bytes(VERSION_BYTES), bytes(MARK_BYTES + 1))),
    ],
)
async def test_a_damaged_record_is_replaced_when_its_tag_is_used(
    clock: ManualClock, body: bytes
) -> None:
    store = tagged(clock)
    await store.base.put("before", 1)
    await filled(store)
    assert await store.get("before") == 1
    page = await store.base.list_keys(RECORDS, KeyRange(), None)
    found = await store.base.read(RECORDS, page.keys)
    damaged = [entry.with_body(body, entry.codec) for entry in found if entry is not None]
    await store.base.write(RECORDS, page.keys, damaged)
    assert await store.get("a") is None
    await store.put("b", 5, tags=["page"])
    assert await store.get("b") == 5
    # It may have been cleared, which the damaged record does not say any more.
    assert await store.get("before") is None
    await store.find(Tags).invalidate("page")
    assert await store.get("b") is None


async def test_a_snapshot_that_is_cut_is_corrupt(clock: ManualClock) -> None:
    store = tagged(clock)
    await filled(store)
    (entry,) = await store.base.read(None, ["a"])
    assert entry is not None
    for body in (b"", entry.body[:20], b"\xff" + entry.body[1:]):
        await store.base.write(None, ["a"], [entry.with_body(body, entry.codec)])
        with pytest.raises(CorruptEntry) as caught:
            await store.get("a")
        assert caught.value.key == "a"


async def test_the_records_are_hidden_and_kept(clock: ManualClock) -> None:
    store = tagged(clock)
    tags = await filled(store)
    assert await store.collections() == []
    await store.destroy()
    assert await store.keys() == []
    assert (await store.base.list_keys(RECORDS, KeyRange(), None)).keys
    await store.put("a", 1, tags=["page"])
    await tags.invalidate("page")
    assert await store.get("a") is None


async def test_the_backend_sees_no_tag(clock: ManualClock) -> None:
    base = MemoryStore(clock=clock)
    hidden = stack().tags(SECRET).encrypt(Keyring.generate("k")).over(base)
    await hidden.put("a", 1, tags=["user:1"])
    await hidden.put("b", 1, tags=["user:1"])
    entries = await base.read(None, ["a", "b"])
    one, other = (entry for entry in entries if entry is not None)
    page = await base.list_keys(RECORDS, KeyRange(), None)
    (identity,) = (bytes.fromhex(key[4:]) for key in page.keys if key.startswith("tag-"))
    for entry in (one, other):
        assert b"user" not in entry.body + entry.codec
        assert identity not in entry.body + entry.codec
    plain = stack().tags(SECRET).over(MemoryStore(clock=clock))
    await plain.put("a", 1, tags=["user:1"])
    (entry,) = await plain.base.read(None, ["a"])
    assert entry is not None
    assert identity in entry.body
    assert b"user" not in entry.body + entry.codec


async def test_another_secret_has_other_tags(clock: ManualClock) -> None:
    base = MemoryStore(clock=clock)
    one, other, none = (stack().tags(s).over(base) for s in (SECRET, "t" * 16, None))
    await one.put("a", 1, tags=["t"])
    await other.find(Tags).invalidate("t")
    await none.find(Tags).invalidate("t")
    assert await one.get("a") == 1
    await stack().tags(SECRET.decode()).over(base).find(Tags).invalidate("t")
    assert await one.get("a") is None


def test_secrets_are_checked_and_not_shown() -> None:
    assert repr(Tags(SECRET)) == "Tags(secret=***)"
    for secret in (b"short", 5, Keyring.generate("k")):
        with pytest.raises(ConfigurationError, match="secret"):
            Tags(secret)  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(Tags())) == Tags()
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(Tags(SECRET))


async def test_without_versions_tags_are_invalidated_and_not_expired(clock: ManualClock) -> None:
    inside = stack(WithoutCapabilities("compare_and_put"))
    store = tagged(clock, inside)
    tags = await filled(store)
    with pytest.raises(UnsupportedOperation, match="invalidate"):
        await tags.expire("page")
    await tags.invalidate("page")
    assert await store.keys() == ["d"]
    await tags.clear()
    assert await store.keys() == []


async def test_a_rewrite_keeps_tags_and_what_has_none(clock: ManualClock) -> None:
    base = MemoryStore(clock=clock)
    await base.put("old", {"a": "b" * 100})
    before = stack().tags().over(base)
    await before.put("new", {"a": "b" * 100}, tags=["t"])
    store = stack().tags().compress().over(base)
    report = await rewrite(store)
    assert report.rewritten == 2
    assert (await rewrite(store)).rewritten == 0
    assert sorted(await store.keys()) == ["new", "old"]
    await store.find(Tags).invalidate("t")
    assert await store.keys() == ["old"]
    await store.find(Tags).clear()
    assert await store.keys() == []


async def test_locks_have_no_tags(clock: ManualClock, tmp_path: Path) -> None:
    store = stack().tags().over(SQLiteStore(tmp_path / "locks.db", clock=clock))
    async with store:
        async with store.lock("a") as first:
            await store.find(Tags).clear()
        async with store.lock("a") as second:
            assert second.fencing == first.fencing + 1


async def test_what_it_does_is_counted(clock: ManualClock) -> None:
    store = tagged(clock)
    tags = await filled(store)

    def counts() -> dict[str, float]:
        return {
            each.figure.name: each.value
            for each in collect(store)
            if each.figure.name.startswith("tags.")
        }

    first = counts()
    assert (first["tags.invalidations"], first["tags.invalid"]) == (0, 0)
    assert first["tags.record_reads"] > 0
    await store.get_many(["a", "b", "c", "d", "missing"])
    assert counts() == first, "what is valid and known costs nothing"
    await tags.invalidate("page", "user:1")
    await tags.expire("page")
    assert await store.get_many(["a", "b", "c", "d", "missing"]) == [None, None, None, 4, None]
    assert counts()["tags.invalidations"] == 3
    assert counts()["tags.invalid"] == 3
    await tags.clear()
    assert await store.get("d") is None
    assert (counts()["tags.invalidations"], counts()["tags.invalid"]) == (4, 4)
    assert "tags.invalid 4" in store.explain()
