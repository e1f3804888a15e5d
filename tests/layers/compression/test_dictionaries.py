"""Dictionaries: what they save, who learns of them, and that none is lost while it is needed."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from kvwrap import (
    Compression,
    ConfigurationError,
    CorruptEntry,
    InvalidKey,
    InvalidValue,
    Keyring,
    MemoryStore,
    NullStore,
    Passthrough,
    Store,
    UnsupportedOperation,
    stack,
)
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected, KeyRange, Page
from kvwrap.core.serializer import JSON
from kvwrap.layers.compression.algorithms.zstd import Zstd
from kvwrap.layers.compression.records import RESERVED, dictionary_key, primary_key
from kvwrap.layers.compression.training import trained
from kvwrap.rewriting.rewrite import rewrite
from kvwrap.testing import ManualClock
from tests.layers.compression.sample_records import records

DAY = 86_400
TRAINED_ON = [JSON.dumps(value) for value in records(400)]
OTHERS = [JSON.dumps(value) for value in records(400, seed=2)]


class Spy(Passthrough):
    """Counts what passes, and lets a test step in."""

    def __init__(self) -> None:
        self.reads: list[tuple[Collection, tuple[str, ...]]] = []
        self.before_listing: Any = None
        self.calls = 0
        self.cut_at = -1

    def _count(self) -> None:
        self.calls += 1
        if self.calls == self.cut_at:
            raise asyncio.CancelledError

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        self._count()
        self.reads.append((collection, tuple(keys)))
        return await self.inner.read(collection, keys)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        self._count()
        return await self.inner.write(collection, keys, entries, expected)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        self._count()
        return await self.inner.remove(collection, keys, expected)

    async def list_keys(self, collection: Collection, key_range: KeyRange, cursor: object) -> Page:
        if self.before_listing is not None and collection != RESERVED:
            step_in, self.before_listing = self.before_listing, None
            await step_in()
        return await self.inner.list_keys(collection, key_range, cursor)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def base(clock: ManualClock) -> MemoryStore:
    return MemoryStore(clock=clock)


def process(base: Store, **arguments: Any) -> Store:
    """A stack as another process would have it over the same backend."""
    return stack().compress(**{"dictionaries": True, **arguments}).over(base)


def part(store: Store) -> Compression:
    return store.find(Compression)


async def step_of(base: Store, key: str, collection: Collection = "users") -> bytes:
    found = (await base.read(collection, [key]))[0]
    assert found is not None
    return codec.first_step(found.codec)


async def ids_at_rest(base: Store) -> set[str]:
    keys = await base.keys(RESERVED)
    return {key.removeprefix("dictionary-") for key in keys if key.startswith("dictionary-")}


def test_values_of_380_bytes_take_at_most_45_percent_of_what_zstd_alone_takes() -> None:
    values = [JSON.dumps(value) for value in records(2_400)]
    assert 360 < sum(map(len, values)) / len(values) < 400
    dictionary, ratio = trained(values[:2_000], 16 * 1024, 3)
    with_it, alone = Zstd(3, dictionary), Zstd(3)
    small = sum(len(with_it.compress(value)) for value in values[2_000:])
    assert small <= 0.45 * sum(len(alone.compress(value)) for value in values[2_000:])
    # What was measured on samples kept out of training is what new values show.
    assert abs(small / sum(len(alone.compress(v)) for v in values[2_000:]) - ratio) < 0.05
    assert all(with_it.decompress(with_it.compress(v), 1_000) == v for v in values[2_000:])


async def test_train_compresses_what_is_put_from_then_on(base: MemoryStore) -> None:
    store = process(base)
    values = records(200)
    keys = [f"k{n}" for n in range(200)]
    await store.put_many(keys, values, collection="users")
    assert await step_of(base, "k0") == codec.ZSTD
    info = await part(store).train("users", rng=random.Random(1))
    assert info.primary
    assert info.ratio < 0.45
    assert (info.collection, info.samples, info.retired_at) == ("users", 200, None)
    await store.put("new", values[0], collection="users")
    assert await step_of(base, "new") == codec.step(0x90, bytes.fromhex(info.id))
    assert await store.get("new", collection="users") == values[0]
    assert await store.get_many(keys, collection="users") == values
    await store.put("new", values[0])
    assert await step_of(base, "new", None) == codec.ZSTD
    assert await part(store).dictionaries("users") == [info]
    assert await part(store).dictionaries() == []


async def test_a_dictionary_of_the_default_collection_from_samples(base: MemoryStore) -> None:
    store = process(base)
    info = await part(store).train(samples=records(100), size=4_096)
    assert info.collection is None
    assert info.size <= 4_096
    await store.put("k", records(1)[0])
    assert (await step_of(base, "k", None))[1:].hex() == info.id


async def test_another_process_reads_at_once_and_writes_after_refresh(
    base: MemoryStore, clock: ManualClock
) -> None:
    one, other = process(base), process(base, refresh=30)
    value = records(1)[0]
    await other.put("old", value, collection="users")
    info = await part(one).train("users", samples=TRAINED_ON)
    await one.put("new", value, collection="users")
    assert await other.get("new", collection="users") == value
    clock.advance(29)
    await other.put("k", value, collection="users")
    assert await step_of(base, "k") == codec.ZSTD
    clock.advance(2)
    await other.put("k", value, collection="users")
    assert (await step_of(base, "k"))[1:].hex() == info.id


async def test_a_layer_that_writes_without_dictionaries_reads_with_them(base: MemoryStore) -> None:
    store = process(base)
    await part(store).train("users", samples=TRAINED_ON)
    value = records(1)[0]
    await store.put("k", value, collection="users")
    for algorithm in ("zstd", "gzip"):
        other = process(base, dictionaries=False, algorithm=algorithm)
        assert await other.get("k", collection="users") == value
        with pytest.raises(ConfigurationError, match="dictionaries=True"):
            await part(other).train("users", samples=TRAINED_ON)


async def test_nothing_is_read_for_dictionaries_where_they_are_not_used(base: MemoryStore) -> None:
    store = stack().compress().layer(Spy()).over(base)
    await store.put("k", "a" * 1_000, collection="users")
    await store.get_many(["k", "other"], collection="users")
    assert store.find(Spy).reads == [("users", ("k", "other"))]


async def test_a_collection_is_looked_up_once_in_refresh_seconds(
    base: MemoryStore, clock: ManualClock
) -> None:
    store = stack().compress(dictionaries=True, refresh=60).layer(Spy()).over(base)
    await asyncio.gather(*(store.put(f"k{n}", n, collection="users") for n in range(20)))
    clock.advance(59)
    await store.put("k", 1, collection="users")
    assert store.find(Spy).reads == [(RESERVED, (primary_key("users"),))]
    clock.advance(2)
    await store.put("k", 1, collection="users")
    assert len(store.find(Spy).reads) == 2


async def test_dictionaries_are_out_of_sight(base: MemoryStore) -> None:
    store = process(base)
    await part(store).train("users", samples=TRAINED_ON)
    await store.put("k", 1, collection="users")
    assert await store.collections() == ["users"]
    assert await base.collections() == [RESERVED, "users"]
    for reaching in (
        store.get("k", collection=RESERVED),
        store.put("k", 1, collection=RESERVED),
        store.delete("k", collection=RESERVED),
        store.expire("k", 5, collection=RESERVED),
        store.keys(RESERVED),
        store.destroy_collection(RESERVED),
        part(store).train(RESERVED),
    ):
        with pytest.raises(InvalidKey, match="choose another name"):
            await reaching


async def test_what_lies_inside_the_layer_applies_to_dictionaries(base: MemoryStore) -> None:
    keyring = Keyring({"k": os.urandom(32)})
    sealed = stack().compress(dictionaries=True).prefix_collection("app-").encrypt(keyring)
    store = sealed.over(base)
    await part(store).train("users", samples=TRAINED_ON)
    await store.put("k", records(1)[0], collection="users")
    assert set(await base.collections()) == {"app-" + RESERVED, "app-users"}
    for entry in await base.read("app-" + RESERVED, await base.keys("app-" + RESERVED)):
        assert entry is not None
        assert entry.codec[0] == codec.ENCRYPTED
        assert b"example.org" not in entry.body
    assert await sealed.over(base).get("k", collection="users") == records(1)[0]


async def test_generations_are_all_read_and_listed(base: MemoryStore, clock: ManualClock) -> None:
    store = process(base)
    values = records(3, seed=5)
    made = []
    for n, value in enumerate(values):
        clock.advance(10)
        made.append(await part(store).train("users", samples=records(100, seed=10 + n)))
        await store.put(f"k{n}", value, collection="users")
    other = process(base)
    assert await other.get_many(["k0", "k1", "k2"], collection="users") == values
    listed = await part(other).dictionaries("users")
    assert [info.id for info in listed] == [info.id for info in made]
    assert [info.primary for info in listed] == [False, False, True]
    assert [info.created_at - clock.time() for info in listed] == [-20, -10, 0]
    assert [info.retired_at and info.retired_at - clock.time() for info in listed] == [
        -10,
        0,
        None,
    ]


async def test_the_same_samples_give_the_same_dictionary(base: MemoryStore) -> None:
    store = process(base)
    first = await part(store).train("users", samples=TRAINED_ON)
    assert await part(store).train("users", samples=TRAINED_ON) == first
    assert (await part(store).train("others", samples=TRAINED_ON)).id == first.id
    assert await ids_at_rest(base) == {first.id}


async def test_a_lost_dictionary_is_named(base: MemoryStore) -> None:
    store = process(base)
    info = await part(store).train("users", samples=TRAINED_ON)
    await store.put("k", records(1)[0], collection="users")
    await base.destroy_collection(RESERVED)
    with pytest.raises(CorruptEntry, match=info.id) as caught:
        await process(base).get("k", collection="users")
    assert (caught.value.collection, caught.value.key) == ("users", "k")
    # Who still has it reads on, and nobody writes with what is not there any more.
    assert await store.get("k", collection="users") == records(1)[0]
    other = process(base)
    await other.put("new", records(1)[0], collection="users")
    assert await step_of(base, "new") == codec.ZSTD


async def test_a_broken_record_is_corrupt(base: MemoryStore) -> None:
    store = process(base)
    first = await part(store).train("users", samples=TRAINED_ON)
    second = await part(store).train("users", samples=OTHERS)
    await store.put("k", records(1)[0], collection="users")
    keys = [dictionary_key(bytes.fromhex(info.id)) for info in (first, second)]
    one, two = await base.read(RESERVED, keys)
    assert one is not None
    assert two is not None
    plain = Entry(b"plain", codec.BYTES, 0.0, None, 5)
    for broken in (one, two.with_body(two.body[:-3], two.codec), plain):
        await base.write(RESERVED, [keys[1]], [broken])
        with pytest.raises(CorruptEntry, match="dictionary") as caught:
            await process(base).get("k", collection="users")
        assert caught.value.collection == RESERVED


async def test_entries_copied_to_other_collections_open(base: MemoryStore) -> None:
    store = process(base)
    await part(store).train("users", samples=TRAINED_ON)
    value = records(1)[0]
    await store.put("k", value, collection="users")
    await base.write("copies", ["k"], [e for e in await base.read("users", ["k"]) if e])
    assert await process(base).get("k", collection="copies") == value
    await store.move("k", "k", collection="users", target_collection="moved")
    assert await step_of(base, "k", "moved") == codec.ZSTD
    assert await store.get("k", collection="moved") == value


async def test_destroy_leaves_dictionaries_that_others_write_with(base: MemoryStore) -> None:
    one, other, plain = process(base), process(base), process(base, dictionaries=False)
    info = await part(one).train("users", samples=TRAINED_ON)
    value = records(1)[0]
    await other.put("warm", value, collection="users")
    ways: list[Callable[[], Awaitable[bool]]] = [
        lambda: one.destroy_collection("users"),
        one.destroy,
        plain.destroy,
    ]
    for destroy in ways:
        await one.put("k", value, collection="users")
        assert await destroy()
        assert await one.collections() == []
        assert not await one.destroy()
        await other.put("late", value, collection="users")
        assert (await step_of(base, "late"))[1:].hex() == info.id
        assert await process(base).get("late", collection="users") == value


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([], "at least 10 values"),
        (TRAINED_ON[:9], "at least 10 values"),
        ([b"1"] * 500, "too few or too small|too little in common"),
        ([random.Random(n).randbytes(300) for n in range(200)], "too little in common"),
    ],
)
async def test_samples_that_teach_nothing_are_refused(
    base: MemoryStore, samples: list[bytes], said: str
) -> None:
    store = process(base)
    with pytest.raises(InvalidValue, match=said) as caught:
        await part(store).train("users", samples=samples)
    assert caught.value.collection == "users"
    assert await base.collections() == []


async def test_a_collection_that_is_nearly_empty_is_refused(base: MemoryStore) -> None:
    store = process(base)
    await store.put("k", records(1)[0], collection="users")
    with pytest.raises(InvalidValue, match="there are 1"):
        await part(store).train("users")
    for size in (255, 2**25, 1000.0):
        with pytest.raises(ConfigurationError, match="size"):
            await part(store).train("users", size=size)  # type: ignore[arg-type]  # to be refused


async def test_what_would_lose_a_dictionary_is_found_out(base: MemoryStore) -> None:
    store = stack().compress(dictionaries=True).clamp_ttl(maximum=60).over(base)
    with pytest.raises(ConfigurationError, match="outlive"):
        await part(store).train("users", samples=TRAINED_ON)
    assert await base.collections() == []
    with pytest.raises(ConfigurationError, match="does not keep"):
        await part(process(NullStore())).train("users", samples=TRAINED_ON)


async def test_a_store_that_cannot_enumerate(base: MemoryStore) -> None:
    hidden = stack().compress(dictionaries=True).hash_keys(b"s" * 16, collections=True)
    store = hidden.over(base)
    with pytest.raises(UnsupportedOperation, match="samples="):
        await part(store).train("users")
    await part(store).train("users", samples=TRAINED_ON)
    await store.put("k", records(1)[0], collection="users")
    assert await hidden.over(base).get("k", collection="users") == records(1)[0]
    assert [i.primary for i in await part(store).dictionaries("users")] == [True]
    with pytest.raises(UnsupportedOperation, match=r"Compression cannot tell .*collections, keys"):
        await part(store).prune()
    with pytest.raises(UnsupportedOperation, match="Compression"):
        await store.destroy()
    assert "destroy" not in store.capabilities


async def test_prune_deletes_only_what_was_retired_long_ago_and_is_not_used(
    base: MemoryStore, clock: ManualClock
) -> None:
    store = process(base)
    value = records(1)[0]
    first = await part(store).train("users", samples=TRAINED_ON)
    await store.put("k", value, collection="users")
    second = await part(store).train("users", samples=OTHERS)
    assert (await part(store).prune()).waiting == (first.id,)
    clock.advance(DAY + 1)
    # Still used, by an entry that somebody copied at that.
    await base.write("elsewhere", ["k"], [e for e in await base.read("users", ["k"]) if e])
    await store.delete("k", collection="users")
    found = await part(store).prune()
    assert (found.deleted, found.in_use, found.waiting) == ((), {first.id: 1}, ())
    assert await process(base).get("k", collection="elsewhere") == value
    await base.delete("k", collection="elsewhere")
    assert (await part(store).prune()).deleted == (first.id,)
    assert await ids_at_rest(base) == {second.id}
    assert [info.id for info in await part(store).dictionaries("users")] == [second.id]


async def test_retire_then_rewrite_then_prune_leaves_nothing(
    base: MemoryStore, clock: ManualClock
) -> None:
    store = process(base)
    value = records(1)[0]
    assert not await part(store).retire("users")
    info = await part(store).train("users", samples=TRAINED_ON)
    await store.put("k", value, collection="users")
    assert await part(store).retire("users")
    assert not await part(store).retire("users")
    clock.advance(DAY + 1)
    assert (await part(store).prune()).in_use == {info.id: 1}
    await store.put("k", value, collection="users")
    assert await step_of(base, "k") == codec.ZSTD
    assert (await part(store).prune()).deleted == (info.id,)
    assert await part(store).dictionaries("users") == []


async def test_a_dictionary_made_primary_again_during_the_scan_stays(
    base: MemoryStore, clock: ManualClock
) -> None:
    one = stack().compress(dictionaries=True).layer(Spy()).over(base)
    other = process(base)
    value = records(1)[0]
    first = await part(one).train("users", samples=TRAINED_ON)
    await part(one).train("users", samples=OTHERS)
    await one.put("some", value, collection="others")
    clock.advance(DAY + 1)

    async def step_in() -> None:
        await part(other).train("users", samples=TRAINED_ON)
        await other.put("k", value, collection="users")

    one.find(Spy).before_listing = step_in
    assert (await part(one).prune()).deleted == ()
    assert one.find(Spy).before_listing is None
    assert (await step_of(base, "k"))[1:].hex() == first.id
    assert await process(base).get("k", collection="users") == value


class Gate(Passthrough):
    """Holds back writes that name a primary, as a slow network might."""

    def __init__(self) -> None:
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        if keys[0].startswith("primary-"):
            self.reached.set()
            await self.opened.wait()
        return await self.inner.write(collection, keys, entries, expected)


@pytest.mark.parametrize("opened", ["before the deletion", "after the deletion"])
@pytest.mark.parametrize("stalled", [0, 3 * DAY])
async def test_a_training_that_runs_into_a_prune_keeps_its_dictionary(
    base: MemoryStore, clock: ManualClock, opened: str, stalled: float
) -> None:
    one = stack().compress(dictionaries=True).layer(Spy()).over(base)
    other = stack().compress(dictionaries=True).layer(Gate()).over(base)
    gate, value = other.find(Gate), records(1)[0]
    await part(one).train("users", samples=TRAINED_ON)
    await part(one).train("users", samples=OTHERS)
    await one.put("some", value, collection="others")
    clock.advance(DAY + 1)
    training: asyncio.Task[Any] | None = None

    async def begin() -> None:
        nonlocal training
        training = asyncio.create_task(part(other).train("users", samples=TRAINED_ON))
        await gate.reached.wait()

    async def go_on() -> None:
        gate.opened.set()
        assert training is not None
        await training

    if stalled:
        # Retired anew while it waits to be named, and ripe by the time of the second prune.
        await begin()
        assert not (await part(one).prune()).deleted
        clock.advance(stalled)
    else:
        one.find(Spy).before_listing = begin
        assert not (await part(one).prune()).deleted
    if opened == "before the deletion":
        one.find(Spy).before_listing = go_on
    await part(one).prune()
    await go_on()
    await other.put("k", value, collection="users")
    assert (await step_of(base, "k"))[0] == codec.ZSTD_DICTIONARY
    assert await process(base).get("k", collection="users") == value
    clock.advance(DAY + 1)
    await part(one).prune()
    assert await process(base).get("k", collection="users") == value


async def test_a_dictionary_that_came_back_is_not_taken_for_retired(
    base: MemoryStore, clock: ManualClock
) -> None:
    store = process(base)
    first = await part(store).train("users", samples=TRAINED_ON)
    await part(store).train("users", samples=OTHERS)
    clock.advance(DAY + 1)
    assert await part(store).train("users", samples=TRAINED_ON) == first
    # Whatever becomes of the record that names it, others may be writing with it.
    await base.delete(primary_key("users"), collection=RESERVED)
    found = await part(store).prune()
    assert found.deleted == ()
    assert first.id in found.waiting


async def test_prune_waits_for_processes_that_may_not_have_looked(base: MemoryStore) -> None:
    store = process(base, refresh=60)
    with pytest.raises(ConfigurationError, match="grace"):
        await part(store).prune(grace=119)
    assert (await part(store).prune(grace=120)).deleted == ()


async def test_two_that_train_at_once_lose_nothing(base: MemoryStore, clock: ManualClock) -> None:
    stores = [process(base) for _ in range(4)]
    value = records(1)[0]

    async def work(n: int) -> None:
        for round_ in range(3):
            await part(stores[n]).train("users", samples=records(60, seed=10 * n + round_))
            await stores[n].put(f"{n}-{round_}", value, collection="users")
            clock.advance(61)

    await asyncio.gather(*(work(n) for n in range(4)))
    clock.advance(2 * DAY)
    await part(stores[0]).prune()
    clock.advance(2 * DAY)
    await part(stores[0]).prune()
    other = process(base)
    assert [v async for _, v in other.items(collection="users")] == [value] * 12
    assert sum(i.primary for i in await part(other).dictionaries("users")) == 1


async def test_rewrite_brings_old_entries_under_the_dictionary_and_dictionaries_under_the_key(
    base: MemoryStore, clock: ManualClock
) -> None:
    old = Keyring({"2023": b"a" * 32})
    new = old.with_key("2024", b"b" * 32).promoted("2024")
    values = records(50)
    before = stack().compress(dictionaries=True).encrypt(old).over(base)
    await before.put_many([f"k{n}" for n in range(50)], values, collection="users")
    info = await part(before).train("users")
    after = stack().compress(dictionaries=True).encrypt(new).over(base)
    await rewrite(after)
    retired = stack().compress(dictionaries=True).encrypt(new.retired("2023")).over(base)
    assert [v async for _, v in retired.items(collection="users")] == [
        value for _, value in sorted(zip((f"k{n}" for n in range(50)), values, strict=True))
    ]
    for entry in await base.read("users", await base.keys("users")):
        assert entry is not None
        assert codec.steps(entry.codec)[1][1:].hex() == info.id
    assert [i.id for i in await part(retired).dictionaries("users")] == [info.id]


async def test_cut_off_anywhere_training_loses_nothing(clock: ManualClock) -> None:
    value = records(1)[0]
    for cut_at in range(1, 100):
        base = MemoryStore(clock=clock)
        store = stack().compress(dictionaries=True).layer(Spy()).over(base)
        first = await part(store).train("users", samples=TRAINED_ON[:60])
        await store.put("before", value, collection="users")
        spy = store.find(Spy)
        spy.calls, spy.cut_at = 0, cut_at
        try:
            await part(store).train("users", samples=OTHERS[:60])
            break
        except asyncio.CancelledError:
            pass
        await store.put("after", value, collection="users")
        other = process(base)
        await other.put("other", value, collection="users")
        for _ in range(3):
            clock.advance(2 * DAY)
            await part(other).prune()
        fresh = process(base)
        assert [v async for _, v in fresh.items(collection="users")] == [value] * 3
        # What was put and never named by anything is cleared away in time.
        primary = {i.id for i in await part(fresh).dictionaries("users") if i.primary}
        assert await ids_at_rest(base) <= primary | {first.id}
        await part(fresh).train("users", samples=OTHERS[:60])
    else:
        pytest.fail("training never came to its end")
    assert cut_at > 5


async def test_a_sample_is_drawn_from_the_whole_collection(base: MemoryStore) -> None:
    store = process(base)
    keys = [f"{n:05}" for n in range(3_000)]
    await store.put_many(keys, records(3_000), collection="users")
    info = await part(store).train("users", size=1_024, rng=random.Random(1))
    # 128 KiB of values of about 380 bytes, and not all three thousand of them.
    assert 300 < info.samples < 400
