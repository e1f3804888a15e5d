"""Reading and writing with dictionaries, and that none is lost while an entry needs it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

import msgspec
import pytest
import zstandard

from kvwrap import (
    ConfigurationError,
    CorruptEntry,
    InvalidKey,
    Keyring,
    MemoryStore,
    UnsupportedOperation,
    stack,
)
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import KeyRange
from kvwrap.layers.compression.records import (
    RESERVED,
    DictionaryRecord,
    dictionary_id,
    dictionary_key,
    primary_key,
)
from kvwrap.layers.compression.training import train_dictionary
from kvwrap.rewriting.rewrite import rewrite
from kvwrap.testing import ManualClock, Tap
from tests.layers.compression.dictionary_stacks import (
    OTHERS,
    TRAINED_ON,
    Spy,
    part,
    process,
    step_of,
)
from tests.layers.compression.sample_records import records


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
    for arguments in ({"algorithm": "zstd"}, {"algorithm": "gzip", "accept": ["zstd"]}):
        other = process(base, dictionaries=False, **arguments)
        assert await other.get("k", collection="users") == value
        with pytest.raises(ConfigurationError, match="dictionaries=True"):
            await part(other).train("users", samples=TRAINED_ON)
    with pytest.raises(CorruptEntry, match="zstd"):
        await process(base, dictionaries=False, algorithm="gzip").get("k", collection="users")


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


async def test_the_layer_is_idle_unless_a_primary_is_looked_up(base: MemoryStore) -> None:
    reached, released = asyncio.Event(), asyncio.Event()

    async def wait(operation: str) -> None:
        reached.set()
        await released.wait()

    store = stack().compress(dictionaries=True).layer(Tap(before=wait)).over(base)
    assert store.idle
    writing = asyncio.create_task(store.put("k", 1, collection="users"))
    await reached.wait()
    assert not store.idle
    released.set()
    await writing
    assert store.idle


async def test_dictionaries_are_hidden(base: MemoryStore) -> None:
    store = process(base)
    await part(store).train("users", samples=TRAINED_ON)
    await store.put("k", 1, collection="users")
    assert await store.collections() == ["users"]
    assert await base.collections() == ["users"], "hidden, whatever the layers are"
    assert await base.list_collections() == [RESERVED, "users"]
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


async def test_layers_inside_apply_to_dictionaries(base: MemoryStore) -> None:
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


async def test_no_record_names_a_collection_whose_name_is_hashed(base: MemoryStore) -> None:
    layers = stack().compress(dictionaries=True).hash_keys(b"s" * 32, collections=True)
    store = layers.over(base)
    await part(store).train("patients-oncology", samples=TRAINED_ON)
    await store.put("k", records(1)[0], collection="patients-oncology")
    seen = 0
    for collection in await base.list_collections():
        assert collection is not None
        assert "patients" not in collection
        page = await base.list_keys(collection, KeyRange(), None)
        for key, entry in zip(page.keys, await base.read(collection, page.keys)):
            assert entry is not None
            plain = entry.body
            if entry.codec[:1] == codec.ZSTD:
                plain = zstandard.ZstdDecompressor().decompress(entry.body)
            assert b"patients" not in key.encode() + plain
            seen += 1
    assert seen == 3  # the dictionary, which one is written with, and the entry


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


async def test_the_error_for_a_lost_dictionary_names_it(base: MemoryStore) -> None:
    store = process(base)
    info = await part(store).train("users", samples=TRAINED_ON)
    await store.put("k", records(1)[0], collection="users")
    await base.drop(RESERVED)
    with pytest.raises(CorruptEntry, match=info.id) as caught:
        await process(base).get("k", collection="users")
    assert (caught.value.collection, caught.value.key) == ("users", "k")
    # A process that has it loaded can still read with it, and no process writes with it.
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
    truncated = two.with_body(two.body[:-3], two.codec)
    other = two.with_body(two.body, codec.ZSTD + codec.JSON)
    nested = two.with_body(
        zstandard.compress(b"\x82\xa7unknown" + b"\x91" * 5000 + b"\x90"), two.codec
    )
    for broken, problem in (
        (one, "belongs to the key"),
        (truncated, "altered or truncated"),
        (nested, "altered or truncated"),
        (plain, "it is bytes"),
        (other, "it is zstd over JSON"),
    ):
        await base.write(RESERVED, [keys[1]], [broken])
        with pytest.raises(CorruptEntry, match=f"dictionary .*{problem}") as caught:
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


async def test_rewrite_updates_old_entries_to_the_dictionary_and_dictionaries_to_the_key(
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


async def test_rewrite_without_dictionaries_leaves_no_entry_that_needs_one(
    base: MemoryStore,
) -> None:
    store = process(base)
    await part(store).train("users", samples=TRAINED_ON)
    await store.put("k", records(1)[0], collection="users")
    plain = process(base, dictionaries=False)
    assert (await rewrite(plain)).rewritten == 1
    assert await step_of(base, "k") == codec.ZSTD
    assert await plain.get("k", collection="users") == records(1)[0]


TRAINED = train_dictionary(TRAINED_ON, 4096, 3)


def planted(number: int, size: int) -> tuple[bytes, DictionaryRecord]:
    """Return a dictionary of this size, which no training made, with its id."""
    content = TRAINED.dictionary + bytes(size) + number.to_bytes(64)
    return dictionary_id(content), DictionaryRecord(content, 0.0, 1, 0.5)


async def plant(base: MemoryStore, number: int, size: int) -> None:
    identity, record = planted(number, size)
    body = zstandard.compress(msgspec.msgpack.encode(record))
    entry = Entry(body, codec.ZSTD + codec.MSGPACK, 0.0, None, 1)
    await base.write(RESERVED, [dictionary_key(identity)], [entry])
    frame = zstandard.ZstdCompressor(write_dict_id=False).compress(b"7")
    steps = codec.step(codec.ZSTD_DICTIONARY, identity) + codec.JSON
    await base.write("users", [f"k{number}"], [Entry(frame, steps, 0.0, None, 1)])


async def test_only_zstd_parses_dictionaries(base: MemoryStore) -> None:
    await plant(base, 1, 0)
    store = stack().compress("gzip").layer(Spy()).over(base)
    with pytest.raises(CorruptEntry, match=r"accept=\['zstd'\]"):
        await store.get("k1", collection="users")
    assert [collection for collection, _ in store.find(Spy).reads] == ["users"]
    accepting = stack().compress("gzip", accept=["zstd"]).over(base)
    assert await accepting.get("k1", collection="users") == 7


async def test_dictionaries_leave_the_memory(base: MemoryStore) -> None:
    for number in range(6):
        await plant(base, number, 10 * 2**20)
    store = stack().compress().layer(Spy()).over(base)
    spy = store.find(Spy)
    for number in range(6):
        assert await store.get(f"k{number}", collection="users") == 7
    spy.reads.clear()
    assert await store.get_many(["k5", "k4", "k3"], collection="users") == [7, 7, 7]
    assert len(spy.reads) == 1, "those needed last are kept"
    assert await store.get("k0", collection="users") == 7
    assert len(spy.reads) == 3, "those not needed for long are read again"
    # In memory are now those of k4, k3 and k0. Reading one entry is a use, too.
    for key in ("k4", "k1", "k4"):
        assert await store.get(key, collection="users") == 7
    assert len(spy.reads) == 7, "the third time, the dictionary of k4 is still there"
    with pytest.raises(CorruptEntry, match="fewer at once"):
        await store.get_many([f"k{number}" for number in range(6)], collection="users")


async def test_a_dictionary_over_the_largest_size_is_refused(base: MemoryStore) -> None:
    await plant(base, 1, 2**24 + 2**16)
    with pytest.raises(CorruptEntry, match="dictionary"):
        await stack().compress().over(base).get("k1", collection="users")


async def test_a_collection_is_written_with_its_dictionary_after_that_left_the_memory(
    base: MemoryStore,
) -> None:
    store = process(base)
    info = await part(store).train("users", samples=TRAINED_ON)
    for number in range(4):
        await plant(base, number, 10 * 2**20)
        assert await store.get(f"k{number}", collection="users") == 7
    await store.put("k", records(1)[0], collection="users")
    assert (await step_of(base, "k"))[1:].hex() == info.id
