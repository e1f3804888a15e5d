"""Compression and encryption, compared with direct calls of the fastest libraries.

`measure` and `blocking` take any value, so `document(1)` to `document(7_000)` give the cost by
size, 140 bytes to 1 MB.
"""

from __future__ import annotations

import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import orjson
import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.table import Row, absolute, ratio
from benchmarks.timing import Pair, median_blocking, pair
from kvwrap import Keyring, MemoryStore, Store, stack

COLLECTION = "documents"
RECORDS = 100
"""Records of the document in the table: about 14 KB of JSON."""

LONG = 10_000_000
"""Bytes of the values for which event-loop blocking is measured."""

WORDS = ("layer", "store", "entry", "keyring", "ttl", "stack", "collection", "capability", "batch")


def document(records: int) -> dict[str, Any]:
    """Return a mapping with a list of records, each about 140 bytes of JSON in four fields."""
    rng = random.Random(1)
    return {
        "records": [
            {
                "id": rng.randrange(10**6),
                "title": " ".join(rng.choice(WORDS) for _ in range(12)),
                "score": round(rng.random() * 100, 2),
                "active": rng.random() < 0.5,
            }
            for _ in range(records)
        ]
    }


def text(size: int) -> dict[str, str]:
    """Return a mapping with one text of this number of characters."""
    rng = random.Random(1)
    words = " ".join(rng.choice(WORDS) for _ in range(size // 4))
    return {"text": words[:size]}


class Pipeline(NamedTuple):
    """The measurements for one value: put and get, and bytes when stored.

    Attributes:
        put: Through kvwrap, and by direct calls.
        get: The same.
        json: Bytes of the value as JSON.
        compressed: Bytes of the compressed JSON.
        stored: Bytes of the stored entry.
    """

    put: Pair
    get: Pair
    json: int
    compressed: int
    stored: int


async def measure(value: Any, count: int) -> Pipeline:
    """Measure a value through compress + encrypt, and orjson, zstd and AES-GCM called directly.

    Args:
        value: The value to put and get.
        count: Number of calls in each round.
    """
    key = os.urandom(32)
    backend = MemoryStore()
    store = stack().compress().encrypt(Keyring({"k1": key})).over(backend)
    cipher = AESGCM(key)
    compress = zstandard.ZstdCompressor(level=3).compress
    decompress = zstandard.ZstdDecompressor().decompress
    stored: dict[tuple[str, str], bytes] = {}

    async def direct_put(count: int) -> None:
        for _ in range(count):
            nonce = os.urandom(12)
            body = compress(orjson.dumps(value))
            stored[COLLECTION, "doc"] = nonce + cipher.encrypt(nonce, body, b"doc")

    async def direct_get(count: int) -> None:
        for _ in range(count):
            data = stored[COLLECTION, "doc"]
            orjson.loads(decompress(cipher.decrypt(data[:12], data[12:], b"doc")))

    async def our_put(count: int) -> None:
        for _ in range(count):
            await store.put("doc", value, collection=COLLECTION)

    async def our_get(count: int) -> None:
        for _ in range(count):
            await store.get("doc", collection=COLLECTION)

    await direct_put(1)
    await our_put(1)
    assert await store.get("doc", collection=COLLECTION) == value
    body = orjson.dumps(value)
    (entry,) = await backend.read(COLLECTION, ["doc"])
    assert entry is not None
    return Pipeline(
        await pair(our_put, direct_put, count, count),
        await pair(our_get, direct_get, count, count),
        len(body),
        len(compress(body)),
        len(entry.to_bytes(COLLECTION, "doc")),
    )


def pipeline() -> Store:
    """Return a store that compresses and encrypts, in memory."""
    return stack().compress().encrypt(Keyring.generate("k1")).over(MemoryStore())


async def blocking(value: Any) -> tuple[float, float]:
    """Return for how long a put and a get of a value block the event loop, in ms."""
    store = pipeline()
    await store.put("doc", value, collection=COLLECTION)

    async def putting() -> Callable[[], Awaitable[object]]:
        return lambda: store.put("doc", value, collection=COLLECTION)

    async def getting() -> Callable[[], Awaitable[object]]:
        return lambda: store.get("doc", collection=COLLECTION)

    return await median_blocking(putting), await median_blocking(getting)


async def rows() -> AsyncIterator[Row]:
    """Measure put and get of 100 records, and the bytes that they occupy when stored."""
    measured = await measure(document(RECORDS), 500)
    name = "compress + encrypt 100 records of four fields, 14 KB"
    yield ratio(f"{name}: put, compared with direct calls", measured.put, 1.6, "1.60")
    yield ratio(f"{name}: get, compared with direct calls", measured.get, 1.2, "1.20")
    more = measured.stored - measured.compressed
    yield Row(
        "the same when stored, beyond the compressed value",
        f"{measured.stored} bytes",
        f"{measured.compressed} bytes",
        f"+{more} bytes",
        "at most +88 bytes",
        more <= 88,
    )
    for operation, blocked in zip(("put", "get"), await blocking(text(LONG)), strict=True):
        title = f"compress + encrypt 10 MB of text: {operation}, event-loop blocking"
        yield absolute(title, blocked, 10, "ms", "50 ms")
