"""Training: what it saves, which samples it refuses, and that an interruption loses nothing."""

from __future__ import annotations

import asyncio
import random

import pytest

from kvwrap import ConfigurationError, InvalidValue, MemoryStore, NullStore, stack
from kvwrap.core import codec
from kvwrap.core.serializer import JSON
from kvwrap.layers.compression.algorithms.zstd import Zstd
from kvwrap.layers.compression.training import train_dictionary
from kvwrap.testing import ManualClock
from tests.layers.compression.dictionary_stacks import (
    DAY,
    OTHERS,
    TRAINED_ON,
    Spy,
    ids_at_rest,
    part,
    process,
    step_of,
)
from tests.layers.compression.sample_records import records


def test_values_of_380_bytes_take_at_most_45_percent_of_what_zstd_alone_takes() -> None:
    values = [JSON.dumps(value) for value in records(2_400)]
    assert 360 < sum(map(len, values)) / len(values) < 400
    dictionary, ratio = train_dictionary(values[:2_000], 16 * 1024, 3)
    with_it, alone = Zstd(3, dictionary), Zstd(3)
    small = sum(len(with_it.compress(value)) for value in values[2_000:])
    assert small <= 0.45 * sum(len(alone.compress(value)) for value in values[2_000:])
    # The ratio measured on samples that it was not trained on holds for new values.
    assert abs(small / sum(len(alone.compress(v)) for v in values[2_000:]) - ratio) < 0.05
    assert all(with_it.decompress(with_it.compress(v), 1_000) == v for v in values[2_000:])


async def test_the_layers_level_is_that_of_the_training(base: MemoryStore) -> None:
    for level in (None, 1, 19):
        info = await part(process(base, level=level)).train("users", samples=TRAINED_ON)
        assert info.ratio == train_dictionary(TRAINED_ON, 16 * 1024, level or 3).ratio
        base = MemoryStore()


async def test_train_compresses_new_entries(base: MemoryStore) -> None:
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


async def test_the_same_samples_give_the_same_dictionary(base: MemoryStore) -> None:
    store = process(base)
    first = await part(store).train("users", samples=TRAINED_ON)
    assert await part(store).train("users", samples=TRAINED_ON) == first
    assert (await part(store).train("others", samples=TRAINED_ON)).id == first.id
    assert await ids_at_rest(base) == {first.id}


async def test_a_sample_is_drawn_from_the_whole_collection(base: MemoryStore) -> None:
    store = process(base)
    keys = [f"{n:05}" for n in range(3_000)]
    await store.put_many(keys, records(3_000), collection="users")
    info = await part(store).train("users", size=1_024, rng=random.Random(1))
    # 128 KiB of values of about 380 bytes, and not all three thousand of them.
    assert 300 < info.samples < 400


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([], "at least 10 values"),
        (TRAINED_ON[:9], "at least 10 values"),
        ([b"1"] * 500, "too few or too small|too little in common"),
        ([random.Random(n).randbytes(300) for n in range(200)], "too little in common"),
    ],
)
async def test_samples_without_anything_in_common_are_refused(
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
    with pytest.raises(InvalidValue, match="got 1"):
        await part(store).train("users")
    for size in (255, 2**25, 1000.0):
        with pytest.raises(ConfigurationError, match="size"):
            await part(store).train("users", size=size)  # type: ignore[arg-type]  # to be refused


async def test_a_part_that_would_lose_a_dictionary_is_refused(base: MemoryStore) -> None:
    store = stack().compress(dictionaries=True).clamp_ttl(maximum=60).over(base)
    with pytest.raises(ConfigurationError, match="outlive"):
        await part(store).train("users", samples=TRAINED_ON)
    assert await base.collections() == []
    with pytest.raises(ConfigurationError, match="does not keep"):
        await part(process(NullStore())).train("users", samples=TRAINED_ON)


async def test_concurrent_training_loses_nothing(base: MemoryStore, clock: ManualClock) -> None:
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


async def test_training_interrupted_anywhere_loses_nothing(clock: ManualClock) -> None:
    value = records(1)[0]
    for interrupt_at in range(1, 100):
        base = MemoryStore(clock=clock)
        store = stack().compress(dictionaries=True).layer(Spy()).over(base)
        first = await part(store).train("users", samples=TRAINED_ON[:60])
        await store.put("before", value, collection="users")
        spy = store.find(Spy)
        spy.calls, spy.interrupt_at = 0, interrupt_at
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
        # A dictionary that was stored but never became primary is deleted in the end.
        primary = {i.id for i in await part(fresh).dictionaries("users") if i.primary}
        assert await ids_at_rest(base) <= primary | {first.id}
        await part(fresh).train("users", samples=OTHERS[:60])
    else:
        pytest.fail("training never finished")
    assert interrupt_at > 5
