"""Compression and encryption, beside the same library calls made directly."""

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
    """A mapping of about so many bytes of JSON: a few fields, and prose."""
    rng = random.Random(1)
    text = " ".join(rng.choice(WORDS) for _ in range(size // 6))
    return {"id": 7, "title": "How layers compose", "tags": ["a", "b"], "text": text[: size - 90]}


async def rows() -> AsyncIterator[Row]:
    """Put and get of a 14 KB mapping, and the bytes that it takes at rest."""
    value = document(14_000)
    key = os.urandom(32)
    backend = MemoryStore()
    store = stack().compress().encrypt(Keyring({"k1": key})).over(backend)
    cipher = AESGCM(key)
    compress = zstandard.ZstdCompressor(level=3).compress
    decompress = zstandard.ZstdDecompressor().decompress
    held: dict[str, bytes] = {}

    async def floor_put(count: int) -> None:
        for _ in range(count):
            nonce = os.urandom(12)
            body = compress(json.dumps(value).encode())
            held["doc"] = nonce + cipher.encrypt(nonce, body, b"doc")

    async def floor_get(count: int) -> None:
        for _ in range(count):
            data = held["doc"]
            json.loads(decompress(cipher.decrypt(data[:12], data[12:], b"doc")))

    def ours(operation: str) -> Work:
        async def work(count: int) -> None:
            for _ in range(count):
                if operation == "put":
                    await store.put("doc", value)
                else:
                    await store.get("doc")

        return work

    await floor_put(1)
    await ours("put")(1)
    assert await store.get("doc") == value
    put = await pair(ours("put"), floor_put, COUNT // 4, COUNT // 4)
    get = await pair(ours("get"), floor_get, COUNT // 4, COUNT // 4)
    yield ratio("compress + encrypt 14 KB: put, against the bare calls", put, 1.4, "1.40")
    yield ratio("compress + encrypt 14 KB: get, against the bare calls", get, 1.4, "1.40")

    entry = (await backend.read(None, ["doc"]))[0]
    assert entry is not None
    at_rest = len(entry.to_bytes(None, "doc"))
    compressed = len(compress(json.dumps(value, separators=(",", ":")).encode()))
    more = at_rest - compressed
    yield Row(
        "the same at rest, beyond the compressed value",
        f"{at_rest} bytes",
        f"{compressed} bytes",
        f"+{more} bytes",
        "at most +64 bytes",
        more <= 64,
    )
