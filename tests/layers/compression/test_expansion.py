"""How far entries may expand: what little bytes may become, and that no value of a user is lost."""

from __future__ import annotations

import base64
import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from kvwrap import Compression, CorruptEntry, InvalidValue, MemoryStore, Store, adapt, stack
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.integrations.py_key_value import PyKeyValueCompression
from kvwrap.layers.compression.algorithms.lookup import NAMES, make_algorithm
from tests.layers.compression.sample_records import records

MIB = 2**20
ALGORITHMS: Any = sorted(NAMES.values())


def empties(count: int) -> bytes:
    """Return a MessagePack list of empty lists."""
    return b"\xdd" + count.to_bytes(4, "big") + b"\x90" * count


def smallest(plain: bytes, step: bytes) -> Entry:
    """Return an entry that is compressed as far as the algorithm goes."""
    algorithm = make_algorithm(NAMES[step])
    return Entry(algorithm.compress(plain), step, 0.0, None, 1)


BODIES = {
    "MessagePack of empty lists": (codec.MSGPACK, empties(16 * MIB)),
    "MessagePack of numbers": (codec.MSGPACK, empties(3 * MIB).replace(b"\x90", b"\xe0")),
    "JSON of empty lists": (codec.JSON, b"[" + b"[]," * (3 * MIB) + b"0]"),
    "JSON of empty dicts": (codec.JSON, b"[" + b"{}," * (3 * MIB) + b"0]"),
    "JSON of numbers": (codec.JSON, b"[" + b"300," * (3 * MIB) + b"0]"),
    "JSON of text": (codec.JSON, b'"' + b"a" * (30 * MIB) + b'"'),
    "bytes": (codec.BYTES, bytes(30 * MIB)),
    "no step": (b"", b"[" + b"{}," * (3 * MIB) + b"0]"),
    "an annotation and JSON": (
        codec.annotation(0x7F, b"abcd") + codec.JSON,
        b"[" + b"[]," * (3 * MIB) + b"0]",
    ),
}


@pytest.mark.parametrize("what", BODIES)
@pytest.mark.parametrize("step", NAMES)
async def test_a_small_entry_does_not_become_much(what: str, step: bytes) -> None:
    serializer, plain = BODIES[what]
    if step == codec.LZ4 and what in ("JSON of text", "bytes"):
        pytest.skip("lz4 shrinks to 1/255 at most, which is within the bound")
    bomb = smallest(plain, step)
    assert len(bomb.body) < 200_000
    store = Compression(accept=ALGORITHMS).over(MemoryStore())
    await store.base.write(None, ["k"], [bomb.with_body(bomb.body, step + serializer)])
    with pytest.raises(CorruptEntry) as caught:
        await store.get("k")
    assert (caught.value.store, caught.value.key) == ("Compression", "k")


PADDED = """
import asyncio, resource, sys
from kvwrap import CorruptEntry, MemoryStore, stack
from kvwrap.core.entry import Entry
import zstandard

body, codec = zstandard.compress(sys.stdin.buffer.read()), bytes.fromhex(sys.argv[1])

async def main():
    store = stack().compress().over(MemoryStore())
    await store.base.write(None, ["k"], [Entry(body, codec, 0.0, None, 1)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        value = await store.get("k")
    except CorruptEntry:
        pass
    print(len(body), (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("steps", "unit"),
    [
        (codec.MSGPACK, b"\x80"),
        (codec.MSGPACK, b"\x81\xa0\x80"),
        (codec.MSGPACK, b"\x81\x01\x01"),
        (codec.MSGPACK, b"\xe0"),
        (codec.JSON, b"[],"),
        (codec.JSON, b'{"a":{}},'),
    ],
)
@pytest.mark.parametrize("size", [MIB - 20, 5 * MIB])
def test_memory_for_a_small_entry_is_bounded(steps: bytes, unit: bytes, size: int) -> None:
    """The densest values that may be read, padded to be just small enough at rest."""
    count = size // len(unit)
    plain = b"\xdd" + count.to_bytes(4, "big") + unit * count
    if steps == codec.JSON:
        plain = b"[" + unit * count + b"0]"
    done = subprocess.run(
        [sys.executable, "-c", PADDED, (codec.ZSTD + steps).hex()],
        input=plain,
        capture_output=True,
        check=True,
    )
    stored, megabytes = map(int, done.stdout.split())
    assert stored < 1000
    assert megabytes < 100


HONEST: dict[str, Callable[[], Any]] = {
    "records": lambda: records(12_000),
    "records, again and again": lambda: records(200) * 20,
    "pairs of numbers": lambda: [[n * n % 9973, n % 89] for n in range(150_000)],
    "zeros": lambda: [0] * 700_000,
    "empty lists": lambda: [[]] * 400_000,
    "a long text": lambda: "all work and no play " * 60_000,
    "text of a language": lambda: "只工作不玩耍聪明的孩子也变傻" * 30_000,
    "a table as text": lambda: "1,2,3,4\n" * 200_000,
}


@pytest.mark.parametrize("what", HONEST)
@pytest.mark.parametrize("serializer", ["json", "msgpack"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_every_value_is_read_as_it_was_put(
    what: str, serializer: Any, algorithm: Any
) -> None:
    store = stack().serialize(serializer).compress(algorithm).over(MemoryStore())
    value = HONEST[what]()
    await store.put("k", value)
    assert await store.get("k") == value


@pytest.mark.parametrize(
    ("what", "step"),
    {
        "records": codec.ZSTD,
        "records, again and again": codec.ZSTD,
        "pairs of numbers": codec.ZSTD,
        "zeros": b"",
        "empty lists": b"",
        "a long text": b"",
    }.items(),
)
async def test_only_values_that_shrink_extremely_are_stored_uncompressed(
    what: str, step: bytes
) -> None:
    store = stack().compress().over(MemoryStore())
    await store.put("k", HONEST[what]())
    (entry,) = await store.base.read(None, ["k"])
    assert entry is not None
    assert entry.codec == step + codec.JSON


@pytest.mark.parametrize("size", [10_000_000, 50_000_000])
async def test_large_values_are_read_with_a_larger_max_size(size: int) -> None:
    value = b"".join(b"%030d\n" % number for number in range(size // 31))
    store = stack().serialize("bytes").compress(max_size=2**27).over(MemoryStore())
    await store.put("k", value)
    (entry,) = await store.base.read(None, ["k"])
    assert entry is not None
    assert len(entry.body) < size / 4
    assert await store.get("k") == value


def legacy_entry(plain: bytes) -> dict[str, Any]:
    data = base64.b64encode(gzip.compress(plain)).decode()
    return {"__compressed_data__": data, "__compression_version__": 1}


async def test_what_legacy_readers_decompress_is_bounded_in_the_same_way() -> None:
    over: dict[str, Any] = {
        "large": legacy_entry(b'{"a":"' + b"a" * (30 * MIB) + b'"}'),
        "dense": legacy_entry(b'{"a":[' + b"[]," * MIB + b"0]}"),
        "fine": legacy_entry(json.dumps({"a": records(5000)}).encode()),
    }
    store = stack().compress(legacy=[PyKeyValueCompression()]).over(adapt(over))
    for key in ("large", "dense"):
        with pytest.raises(CorruptEntry):
            await store.get(key)
    assert await store.get("fine") == {"a": records(5000)}


async def test_a_value_in_the_form_of_a_legacy_reader_that_expands_too_far_is_refused() -> None:
    store: Store = stack().compress(legacy=[PyKeyValueCompression()]).over(MemoryStore())
    value = {**legacy_entry(b'{"a":1}'), "padding": "a" * 2 * MIB}
    with pytest.raises(InvalidValue, match="compresses extremely well"):
        await store.put("k", value)
