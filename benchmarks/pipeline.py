"""Compression and encryption, compared with direct calls of the same libraries."""

from __future__ import annotations

import json
import os
import random
from collections.abc import AsyncIterator
from typing import Any

import zstandard
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from benchmarks.memory import COUNT
from benchmarks.table import Row, ratio
from benchmarks.timing import Work, pair
from kvwrap import Keyring, MemoryStore, stack

WORDS = ("layer", "store", "entry", "keyring", "ttl", "stack", "collection", "capability", "batch")


def document(size: int) -> dict[str, Any]:
    """Return a mapping of about `size` bytes of JSON: a few fields, and prose."""
    rng = random.Random(1)
    text = " ".join(rng.choice(WORDS) for _ in range(size // 6))
    return {"id": 7, "title": "How layers compose", "tags": ["a", "b"], "text": text[: size - 90]}


async def rows() -> AsyncIterator[Row]:
    """Measure put and get of a 14 KB mapping, and the bytes that it occupies when stored."""
    value = document(14_000)
    key = os.urandom(32)
    backend = MemoryStore()
    store = stack().compress().encrypt(Keyring({"k1": key})).over(backend)
    cipher = AESGCM(key)
    compress = zstandard.ZstdCompressor(level=3).compress
    decompress = zstandard.ZstdDecompressor().decompress
    stored: dict[str, bytes] = {}

    async def direct_put(count: int) -> None:
        for _ in range(count):
            nonce = os.urandom(12)
            body = compress(json.dumps(value).encode())
            stored["doc"] = nonce + cipher.encrypt(nonce, body, b"doc")

    async def direct_get(count: int) -> None:
        for _ in range(count):
            data = stored["doc"]
            json.loads(decompress(cipher.decrypt(data[:12], data[12:], b"doc")))

    def ours(operation: str) -> Work:
        async def work(count: int) -> None:
            for _ in range(count):
                if operation == "put":
                    await store.put("doc", value)
                else:
                    await store.get("doc")

        return work

    await direct_put(1)
    await ours("put")(1)
    assert await store.get("doc") == value
    put = await pair(ours("put"), direct_put, COUNT // 4, COUNT // 4)
    get = await pair(ours("get"), direct_get, COUNT // 4, COUNT // 4)
    yield ratio("compress + encrypt 14 KB: put, compared with direct calls", put, 1.4, "1.40")
    yield ratio("compress + encrypt 14 KB: get, compared with direct calls", get, 1.4, "1.40")

    entry = (await backend.read(None, ["doc"]))[0]
    assert entry is not None
    stored_size = len(entry.to_bytes(None, "doc"))
    compressed = len(compress(json.dumps(value, separators=(",", ":")).encode()))
    more = stored_size - compressed
    yield Row(
        "the same when stored, beyond the compressed value",
        f"{stored_size} bytes",
        f"{compressed} bytes",
        f"+{more} bytes",
        "at most +88 bytes",
        more <= 88,
    )
