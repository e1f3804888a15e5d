"""Compression: which values are compressed, and stored bytes that are broken or hostile."""

from __future__ import annotations

import base64
import os
import random
import sys
import zlib
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import (
    Compression,
    ConfigurationError,
    CorruptEntry,
    InvalidTTL,
    Keyring,
    MemoryStore,
    StackWarning,
    Store,
    stack,
)
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.serializer import JSON
from kvwrap.integrations.py_key_value import PyKeyValueCompression
from kvwrap.layers.compression.algorithms.lookup import NAMES, make_algorithm

ALGORITHMS = list(NAMES.values())
VALUE = {"name": "Ada Lovelace", "lines": [f"line {n} of many that are alike" for n in range(200)]}
PLAIN = JSON.dumps(VALUE)


def entry(body: bytes, steps: bytes) -> Entry:
    return Entry(body, steps + codec.JSON, 1e9, None, 1)


async def stored(store: Store, key: str = "k") -> Entry:
    found = (await store.base.read(None, [key]))[0]
    assert found is not None
    return found


@pytest.mark.parametrize("name", ALGORITHMS)
async def test_a_value_is_smaller_at_rest_and_comes_back(name: Any) -> None:
    store = Compression(name).over(MemoryStore())
    await store.put("k", VALUE, ttl=50)
    at_rest = await stored(store)
    assert NAMES[at_rest.codec[:1]] == name
    assert at_rest.codec[1:] == codec.JSON
    assert len(at_rest.body) < len(PLAIN) / 4
    assert await store.get("k") == VALUE


@pytest.mark.parametrize("name", ALGORITHMS)
async def test_other_algorithms_are_read_where_they_are_accepted(name: Any) -> None:
    base = MemoryStore()
    for other in ALGORITHMS:
        await stack().compress(other).over(base).put(other, [other, VALUE])  # type: ignore[arg-type]  # one of the four
    await base.put("plain", VALUE)
    for other in ALGORITHMS:
        if other != name:
            with pytest.raises(CorruptEntry, match=other):
                await Compression(name).over(base).get(other)
    store = Compression(name, accept=ALGORITHMS).over(base)  # type: ignore[arg-type]  # the four
    assert await store.get_many([*ALGORITHMS, "plain"]) == [
        *([other, VALUE] for other in ALGORITHMS),
        VALUE,
    ]


@pytest.mark.parametrize("name", ALGORITHMS)
async def test_levels_are_the_algorithms_own(name: Any) -> None:
    levels = type(make_algorithm(name)).levels
    for level in (levels[0], levels[-1]):
        store = Compression(name, level=level).over(MemoryStore())
        await store.put("k", VALUE)
        assert await store.get("k") == VALUE
    wrong: list[Any] = [levels[0] - 1, levels[-1] + 1, "3", 2.0, True]
    for level in wrong:
        with pytest.raises(ConfigurationError, match=f"level of {name}"):
            Compression(name, level=level)


async def test_small_and_incompressible_values_are_stored_uncompressed() -> None:
    store = stack().compress(min_size=100).serialize("bytes").over(MemoryStore())
    for value in (b"a" * 99, os.urandom(5_000)):
        await store.put("k", value)
        at_rest = await stored(store)
        assert (at_rest.body, at_rest.codec) == (value, codec.BYTES)
        assert await store.get("k") == value
    await store.put("k", b"a" * 100)
    assert (await stored(store)).codec == codec.ZSTD + codec.BYTES


async def test_values_over_max_size_are_not_compressed() -> None:
    store = Compression(max_size=500).over(MemoryStore())
    for size, steps in ((498, codec.ZSTD + codec.JSON), (499, codec.JSON)):
        await store.put("k", "a" * size)
        assert (await stored(store)).codec == steps
        assert await store.get("k") == "a" * size


@pytest.mark.parametrize("step", NAMES)
async def test_a_bomb_is_not_unpacked(step: bytes) -> None:
    bomb = make_algorithm(NAMES[step]).compress(bytes(2_000_000))
    store = Compression(max_size=1_999_999, accept=ALGORITHMS).over(MemoryStore())  # type: ignore[arg-type]  # the four
    await store.base.write(None, ["k"], [entry(bomb, step)])
    with pytest.raises(CorruptEntry, match="max_size=1999999") as caught:
        await store.get("k")
    assert caught.value.key == "k"
    assert make_algorithm(NAMES[step]).decompress(bomb, 2_000_000) == bytes(2_000_000)


async def test_a_frame_that_does_not_state_its_size_is_read_up_to_max_size() -> None:
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(PLAIN)
    assert zstandard.frame_content_size(silent) == -1
    base = MemoryStore()
    await base.write(None, ["k"], [entry(silent, codec.ZSTD)])
    assert await Compression(max_size=len(PLAIN)).over(base).get("k") == VALUE
    with pytest.raises(CorruptEntry):
        await Compression(max_size=len(PLAIN) - 1).over(base).get("k")


@pytest.mark.parametrize("step", NAMES)
async def test_truncated_and_extended_frames_are_corrupt(step: bytes) -> None:
    frame = make_algorithm(NAMES[step]).compress(PLAIN)
    store = Compression(accept=ALGORITHMS).over(MemoryStore())  # type: ignore[arg-type]  # the four
    broken = [frame[:length] for length in range(len(frame))]
    for body in (*broken, frame + b"x", frame + frame, b"not a frame at all"):
        await store.base.write(None, ["k"], [entry(body, step)])
        with pytest.raises(CorruptEntry, match=NAMES[step]) as caught:
            await store.get("k")
        assert (caught.value.store, caught.value.key) == ("Compression", "k")


@pytest.mark.parametrize("step", NAMES)
def test_altered_frames_never_raise_errors_of_the_library(step: bytes) -> None:
    rng = random.Random(7)
    algorithm = make_algorithm(NAMES[step])
    frame = algorithm.compress(PLAIN)
    refused = 0
    for _ in range(2_000):
        altered = bytearray(frame)
        altered[rng.randrange(len(frame))] ^= 1 << rng.randrange(8)
        try:
            algorithm.decompress(bytes(altered), 100_000)
        except CorruptEntry:
            refused += 1
    assert refused > 200


@given(st.binary(max_size=3_000), st.sampled_from(ALGORITHMS))
def test_any_bytes_come_back(data: bytes, name: str) -> None:
    algorithm = make_algorithm(name)
    assert algorithm.decompress(algorithm.compress(data), len(data)) == data


@pytest.mark.parametrize("name", ALGORITHMS)
def test_large_values_come_back(name: str) -> None:
    data = bytes(range(256)) * 20_000 + bytes(5_000_000) + b"end"
    algorithm = make_algorithm(name)
    assert algorithm.decompress(algorithm.compress(data), len(data)) == data


@pytest.mark.parametrize(("name", "module"), [("lz4", "lz4.frame"), ("brotli", "brotli")])
async def test_a_missing_package_is_named_with_its_extra(
    name: Any, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = MemoryStore()
    await Compression(name).over(base).put("k", VALUE)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigurationError, match=f"the extra '{name}'"):
        Compression(name)
    with pytest.raises(ConfigurationError, match=f"the extra '{name}'"):
        Compression(accept=[name])


@pytest.mark.parametrize(
    "arguments",
    [
        {"algorithm": "zstandard"},
        {"algorithm": None},
        {"min_size": -1},
        {"min_size": 1.5},
        {"max_size": 0},
        {"max_size": "1M"},
        {"algorithm": "gzip", "dictionaries": True},
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Compression(**arguments)


def test_an_unknown_algorithm_gets_a_suggestion() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'zstd'"):
        Compression("zstdd")  # type: ignore[arg-type]  # to be refused
    with pytest.raises(InvalidTTL):
        Compression(refresh=0)


async def test_encrypted_and_compressed_takes_at_most_88_bytes_more_than_compressed() -> None:
    store = stack().compress().encrypt(Keyring({"2024": b"k" * 32})).over(MemoryStore())
    await store.put("k", VALUE, ttl=100)
    smallest = len(zstandard.ZstdCompressor(level=3).compress(PLAIN))
    assert len((await stored(store)).to_bytes(None, "k")) <= smallest + 88


async def test_values_that_py_key_value_compressed_are_read_and_rewritten() -> None:
    packed = zlib.compress(PLAIN, 1, wbits=31)
    value = {
        "__compressed_data__": base64.b64encode(packed).decode(),
        "__compression_version__": 1,
        "__compression_algorithm__": "gzip",
    }
    base = MemoryStore()
    await base.put("k", value)
    assert await Compression().over(base).get("k") == value
    store = Compression(legacy=[PyKeyValueCompression()]).over(base)
    assert await store.get("k") == VALUE
    await store.move("k", "there")
    assert (await stored(store, "there")).codec == codec.ZSTD + codec.JSON
    await base.put("k", {**value, "__compressed_data__": base64.b64encode(packed[:-9]).decode()})
    with pytest.raises(CorruptEntry) as caught:
        await store.get("k")
    assert caught.value.key == "k"


def test_known_mistakes_are_reported() -> None:
    keyring = Keyring({"k": b"k" * 32})
    with pytest.warns(StackWarning, match="compression-inside-encryption"):
        stack().encrypt(keyring).compress().over(MemoryStore())
    with pytest.warns(StackWarning, match="compressed-twice"):
        twice = stack().compress().clamp_ttl(maximum=5).compress().over(MemoryStore())
    assert [finding.code for finding in twice.findings] == ["compressed-twice"]
    silenced = stack().encrypt(keyring).compress().silence("compression-inside-encryption")
    assert silenced.over(MemoryStore()).findings == ()
    assert stack().compress().encrypt(keyring).over(MemoryStore()).findings == ()


def test_dictionaries_outside_another_compression_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="compressed-twice"):
        stack().compress(dictionaries=True).compress().over(MemoryStore())
    with pytest.warns(StackWarning, match="compressed-twice"):
        stack().compress().compress(dictionaries=True).over(MemoryStore())


def test_compressed_twice_with_an_algorithm_that_the_inner_layer_does_not_accept() -> None:
    with pytest.raises(ConfigurationError, match="compressed-twice"):
        stack().compress().compress("gzip").over(MemoryStore())


async def test_compressed_twice_still_comes_back() -> None:
    twice = (
        stack().compress(min_size=0).compress("gzip", accept=["zstd"]).silence("compressed-twice")
    )
    store = twice.over(MemoryStore())
    for value in (VALUE, 1, "ab" * 5_000):
        await store.put("k", value)
        assert await store.get("k") == value
