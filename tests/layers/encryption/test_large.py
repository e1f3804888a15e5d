"""Large values: encrypted and decrypted in threads, and counted before."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from kvwrap import ConfigurationError, DecryptionError, Encryption, Key, Keyring, MemoryStore, stack
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.testing import ManualClock

LARGE = 2**20
ALGORITHMS = ("aes-256-gcm", "chacha20-poly1305", "aes-256-gcm-siv")


def ring(algorithm: Any = "aes-256-gcm") -> Keyring:
    return Keyring({"k1": Key(random.Random().randbytes(32), algorithm=algorithm)})


def data(seed: int, size: int = LARGE) -> bytes:
    return random.Random(seed).randbytes(size)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_entries_are_encrypted_in_a_thread_from_a_size_on(algorithm: str) -> None:
    layer = Encryption(ring(algorithm)).over(MemoryStore()).find(Encryption)
    small = layer.encode(Entry(b"", codec.BYTES, 1e9, 2e9, 1), "c", "k")
    for size in (LARGE - len(small.body), LARGE - 1, LARGE):
        plain = Entry(data(1, size), codec.BYTES, 1e9, 2e9, 1)
        begun = layer.begin_encode(plain, "c", "k")
        assert callable(begun) == (size >= LARGE)
        sealed = begun() if callable(begun) else begun
        assert layer.decode(layer.encode(plain, "c", "k"), "c", "k") == plain
        opened = layer.begin_decode(sealed, "c", "k")
        assert callable(opened) == (len(sealed.body) >= LARGE)
        assert (opened() if callable(opened) else opened) == plain


async def test_large_and_small_values_at_the_same_time() -> None:
    store = stack().serialize("bytes").compress().encrypt(ring()).over(MemoryStore())
    values = {f"k{n}": data(n, LARGE + 1000 * n if n % 2 else 500 + n) for n in range(12)}

    async def use(key: str, value: bytes) -> None:
        for _ in range(3):
            await store.put(key, value)
            assert await store.get(key) == value

    await asyncio.gather(*(use(key, value) for key, value in values.items()))
    assert store.find(Encryption).messages == {"k1": 36}


async def test_the_limit_of_messages_holds_for_large_values_at_the_same_time() -> None:
    store = stack().serialize("bytes").encrypt(ring(), message_limit=3).over(MemoryStore())
    puts = [store.put(f"k{n}", data(n)) for n in range(6)]
    results = await asyncio.gather(*puts, return_exceptions=True)
    assert [type(result) for result in results] == [type(None)] * 3 + [ConfigurationError] * 3
    assert store.find(Encryption).messages == {"k1": 3}


async def test_a_large_value_that_is_altered_or_over_is_refused_or_missing() -> None:
    clock = ManualClock()
    backend = MemoryStore(clock=clock)
    store = stack().serialize("bytes").encrypt(ring()).over(backend)
    await store.put("k", data(1), collection="c", ttl=60)
    (sealed,) = await backend.read("c", ["k"])
    assert sealed is not None
    altered = sealed.with_body(sealed.body[:-1] + bytes((sealed.body[-1] ^ 1,)), sealed.codec)
    await backend.write("c", ["altered", "k"], [altered, sealed.with_expiry(None)])
    with pytest.raises(DecryptionError) as raised:
        await store.get("altered", collection="c")
    assert (raised.value.collection, raised.value.key) == ("c", "altered")
    assert await store.get("k", collection="c") == data(1)
    clock.advance(61)
    assert await store.get("k", collection="c") is None


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
async def test_large_plaintext_is_read_during_a_migration_and_written_without_sealing() -> None:
    backend = MemoryStore()
    store = (
        stack().serialize("bytes").encrypt(ring(), accept_plaintext=True, seal=False).over(backend)
    )
    await store.put("k", data(1))
    (entry,) = await backend.read(None, ["k"])
    assert entry is not None
    assert entry.codec == codec.BYTES
    assert await store.get("k") == data(1)


@pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")
async def test_a_large_value_of_an_older_context_opens() -> None:
    keys, backend = ring(), MemoryStore()
    await stack().serialize("bytes").encrypt(keys, context=b"old").over(backend).put("k", data(1))
    store = (
        stack()
        .serialize("bytes")
        .encrypt(keys, context=b"new", accept_contexts=[b"old"])
        .over(backend)
    )
    assert await store.get("k") == data(1)
