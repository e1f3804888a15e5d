"""Large values: compressed and decompressed in threads, each with contexts of its own."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from kvwrap import Compression, CorruptEntry, MemoryStore, Store, stack
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.layers.compression.algorithms.lookup import NAMES, make_algorithm
from kvwrap.layers.compression.algorithms.zstd import Zstd
from kvwrap.layers.compression.records import DictionaryStore
from tests.layers.compression.dictionary_stacks import TRAINED_ON, part, process, step_of
from tests.layers.compression.sample_records import records

LARGE = 2**18
WORDS = (b"layer", b"store", b"entry", b"keyring", b"collection", b"capability", b"batch")
ALGORITHMS = [*NAMES.values()]
STEPS = {name: step for step, name in NAMES.items()}


def words(seed: int, size: int) -> bytes:
    """Return bytes that compress, and differ for each seed."""
    rng = random.Random(seed)
    chosen = (rng.choice(WORDS) for _ in range(size // 4))
    return b" ".join(chosen)[:size]


def entry(body: bytes, steps: bytes = b"") -> Entry:
    return Entry(body, steps + codec.BYTES, 1e9, None, 1)


def bound(*args: Any, **kwargs: Any) -> Compression:
    return Compression(*args, **kwargs).over(MemoryStore()).find(Compression)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_entries_are_compressed_in_a_thread_from_a_size_on(name: Any) -> None:
    layer = bound(name)
    for size in (LARGE - 1, LARGE, LARGE + 1):
        plain = entry(words(1, size))
        begun = layer.begin_encode(plain, None, "k")
        assert callable(begun) == (size >= LARGE)
        encoded = begun() if callable(begun) else begun
        assert encoded.codec == STEPS[name] + codec.BYTES
        assert len(encoded.body) < LARGE
        assert layer.encode(plain, None, "k").codec == encoded.codec
        again = layer.begin_decode(encoded, None, "k")
        # Brotli's frames do not state the size.
        assert callable(again) == (size >= LARGE and name != "brotli")
        assert (again() if callable(again) else again) == plain
        assert layer.decode(encoded, None, "k") == plain


def test_a_large_frame_without_its_size_is_decompressed_in_a_thread() -> None:
    layer = bound("brotli")
    plain = entry(random.Random(1).randbytes(LARGE))
    encoded = entry(make_algorithm("brotli").compress(plain.body), codec.BROTLI)
    begun = layer.begin_decode(encoded, None, "k")
    assert callable(begun)
    assert begun() == plain


def test_sizes_stated_in_frames() -> None:
    for name in ("zstd", "gzip", "lz4"):
        algorithm = make_algorithm(name)
        for size in (0, 1, 100, 5_000, LARGE):
            stated = algorithm.decompressed_size(algorithm.compress(b"a" * size))
            assert stated == size or (size == 0 and name == "lz4")
        for damaged in (b"", b"x", b"damaged bytes of a frame"):
            assert isinstance(algorithm.decompressed_size(damaged), int)
    assert make_algorithm("zstd").decompressed_size(b"damaged") == len(b"damaged")


async def test_values_that_are_not_compressed_are_stored_as_they_are() -> None:
    backend = MemoryStore()
    store = stack().serialize("bytes").compress(max_size=2 * LARGE).over(backend)
    values = [random.Random(1).randbytes(LARGE), words(1, 2 * LARGE + 1), words(1, 2 * LARGE)]
    await store.put_many(["random", "over", "at"], values)
    entries = await backend.read(None, ["random", "over", "at"])
    assert [found and found.codec for found in entries] == [
        codec.BYTES,
        codec.BYTES,
        codec.ZSTD + codec.BYTES,
    ]
    assert await store.get_many(["random", "over", "at"]) == values


@pytest.mark.parametrize("name", ALGORITHMS)
async def test_large_and_small_values_at_the_same_time(name: Any) -> None:
    store = stack().serialize("bytes").compress(name).over(MemoryStore())
    values = {f"k{n}": words(n, LARGE + 1000 * n if n % 2 else 500 + n) for n in range(16)}

    async def use(key: str, value: bytes) -> None:
        for _ in range(3):
            await store.put(key, value)
            assert await store.get(key) == value

    await asyncio.gather(*(use(key, value) for key, value in values.items()))


@pytest.mark.parametrize("name", ALGORITHMS)
async def test_damaged_large_entries_name_their_key(name: Any) -> None:
    backend = MemoryStore()
    store: Store = Compression(name, max_size=2 * LARGE).over(backend)
    frame = make_algorithm(name).compress(b"a" * 2 * LARGE)
    bomb = make_algorithm(name).compress(b"a" * (2 * LARGE + 1))
    await backend.write(
        "c",
        ["cut", "bomb"],
        [entry(frame[:-9] + frame[-8:], STEPS[name]), entry(bomb, STEPS[name])],
    )
    for key in ("cut", "bomb"):
        with pytest.raises(CorruptEntry) as raised:
            await store.get(key, collection="c")
        assert (raised.value.collection, raised.value.key) == ("c", key)


async def test_large_values_do_not_use_the_dictionary_and_are_current(base: MemoryStore) -> None:
    store = process(base)
    layer = part(store)
    await layer.train(samples=TRAINED_ON)
    await store.put_many(["small", "large"], [records(1)[0], words(1, LARGE).decode()])
    assert await step_of(base, "small", None) != codec.ZSTD
    assert await step_of(base, "large", None) == codec.ZSTD
    for key in ("small", "large"):
        (stored,) = await base.read(None, [key])
        assert stored is not None
        assert layer.is_current(stored, layer.decode(stored, None, key), None, key)


async def test_large_values_with_a_dictionary_are_read(base: MemoryStore) -> None:
    store = process(base)
    info = await part(store).train(samples=TRAINED_ON)
    identity = bytes.fromhex(info.id)
    dictionary = (await DictionaryStore(base).read_dictionaries([identity]))[identity].dictionary
    body = words(1, LARGE)
    step = codec.step(codec.ZSTD_DICTIONARY, identity)
    stored = entry(Zstd(None, dictionary).compress(body), step)
    await base.write(None, ["k"], [stored])
    assert await store.get("k") == body
    assert callable(part(store).begin_decode(stored, None, "k"))


def test_few_bytes_are_decompressed_at_once() -> None:
    layer = bound()
    repeated = entry(b"layer store " * 50_000)
    encoded = layer.encode(repeated, None, "k")
    assert len(encoded.body) < 2**12
    assert layer.begin_decode(encoded, None, "k") == repeated
    truncated = make_algorithm("zstd").compress(words(1, LARGE))[: 2**12]
    assert callable(layer.begin_decode(entry(truncated, codec.ZSTD), None, "k"))
    with pytest.raises(CorruptEntry):
        layer.begin_decode(entry(truncated[:-1], codec.ZSTD), None, "k")
