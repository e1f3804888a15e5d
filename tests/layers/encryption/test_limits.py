"""Limits of messages, counted in this process for each key, whichever object has it."""

from __future__ import annotations

import logging
import multiprocessing
from typing import Any

import pytest

from kvwrap import (
    ConfigurationError,
    Encryption,
    EnvelopeKeyring,
    Key,
    Keyring,
    LocalKEK,
    MemoryStore,
    Store,
    stack,
)
from kvwrap.testing import ManualClock


async def test_a_key_is_refused_at_its_limit() -> None:
    backend = MemoryStore()
    keyring = Keyring.generate("a")
    store = stack().encrypt(keyring, message_limit=3).over(backend)
    for n in range(3):
        await store.put("k", {"n": n})
    with pytest.raises(ConfigurationError, match="'a' has sealed 3 messages"):
        await store.put("k", {"n": 3})
    assert await store.get("k") == {"n": 2}
    promoted = stack().encrypt(keyring.with_key("b").promoted("b"), message_limit=3).over(backend)
    await promoted.put("k", {"n": 3})
    assert promoted.find(Encryption).messages == {"a": 3, "b": 1}


async def test_messages_are_counted_by_key_over_all_stores() -> None:
    keyring = Keyring.generate("a")
    stores = [stack().encrypt(keyring).over(MemoryStore()) for _ in range(2)]
    for store in stores:
        await store.put_many(["a", "b"], [1, 2])
        await store.get_many(["a", "b"])
    assert stores[0].find(Encryption).messages == {"a": 4}


async def test_half_of_the_limit_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    keyring = Keyring.generate("a")
    store = stack().encrypt(keyring).over(MemoryStore())
    keyring.cipher("a").count.messages = 2**31 - 2
    with caplog.at_level(logging.WARNING, "kvwrap.encryption"):
        await store.put("k", 1)
        assert not caplog.records
        await store.put("k", 1)
    assert len(caplog.records) == 1
    assert "'a'" in caplog.text
    keyring.cipher("a").count.messages = 2**32
    with pytest.raises(ConfigurationError, match="promote"):
        await store.put("k", 1)


def messages(store: Store) -> dict[str, int]:
    return store.find(Encryption).messages


async def test_messages_are_counted_by_key_over_all_keyrings() -> None:
    text = Keyring.generate("a").reveal_text()
    stores = [stack().encrypt(Keyring.from_text(text)).over(MemoryStore()) for _ in range(2)]
    renamed = Keyring({"other": text.partition(":")[2]})
    stores.append(stack().encrypt(renamed).over(MemoryStore()))
    for store in stores:
        await store.put("k", 1)
    assert [messages(store) for store in stores] == [{"a": 3}, {"a": 3}, {"other": 3}]


async def test_a_count_outlives_every_object_with_the_key() -> None:
    text = Keyring.generate("a").reveal_text()
    for count in (1, 2, 3):
        store = stack().encrypt(Keyring.from_text(text)).over(MemoryStore())
        await store.put("k", 1)
        assert messages(store) == {"a": count}
        del store


def test_one_key_for_two_algorithms_has_two_counts() -> None:
    material = Key.generate().reveal()
    first, second = (
        Keyring({"k": Key(material, algorithm=algorithm)}).cipher("k")
        for algorithm in ("aes-256-gcm", "chacha20-poly1305")
    )
    first.seal(b"", b"")
    assert (first.count.messages, second.count.messages) == (1, 0)


async def test_unwrapping_a_data_key_again_continues_its_count(clock: ManualClock) -> None:
    kek = LocalKEK.generate()
    keyring = await EnvelopeKeyring.generate(kek, max_age=60)
    text = keyring.to_text()
    store = stack().encrypt(keyring).over(MemoryStore(clock=clock))
    await store.put("k", 1)
    clock.advance(61)
    await store.put("k", 2)
    assert messages(store) == {"data-1": 2}
    loaded = EnvelopeKeyring.from_text(text, kek=kek)
    other = stack().encrypt(loaded).over(MemoryStore())
    await other.put("k", 3)
    assert messages(other) == {"data-1": 3}


def _seal_once(cipher: Any, results: Any) -> None:
    cipher.seal(b"", b"")
    results.put(cipher.count.messages)


def test_a_forked_process_continues_from_its_parents_count() -> None:
    cipher = Keyring.generate("a").cipher("a")
    cipher.seal(b"", b"")
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_seal_once, args=(cipher, results))
    child.start()
    assert results.get(timeout=30) == 2
    child.join()
    assert cipher.count.messages == 1
