"""Keys that a function provides: refreshed, cached, and fetched once for many callers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from kvwrap import (
    ConfigurationError,
    DecryptionError,
    Encryption,
    Key,
    Keyring,
    MemoryStore,
    StoreTimeout,
    StoreUnavailable,
    stack,
)
from kvwrap.core import codec
from kvwrap.testing import ManualClock

RING = Keyring({"k1": b"1" * 32})


async def test_a_process_learns_of_a_key_that_was_added_elsewhere(clock: ManualClock) -> None:
    source = {"keyring": RING}
    calls = 0

    async def fetch() -> Keyring:
        nonlocal calls
        calls += 1
        return source["keyring"]

    backend = MemoryStore(clock=clock)
    store = stack().encrypt(Keyring.from_callable(fetch)).over(backend)
    await store.put("old", 1)
    added = RING.with_key("k2", b"2" * 32).promoted("k2")
    await stack().encrypt(added).over(backend).put("new", 2)
    source["keyring"] = added

    with pytest.raises(DecryptionError, match="does not have"):
        await store.get("new")  # too soon after the last fetch
    clock.advance(6)
    assert await store.get_many(["new", "old"]) == [2, 1]
    assert calls == 2
    await store.put("old", 3)
    (entry,) = await backend.read(None, ["old"])
    assert entry is not None
    assert entry.codec[1:5] == codec.fingerprint("k2")


async def test_keys_are_fetched_again_after_a_time_and_on_demand(clock: ManualClock) -> None:
    source = {"primary": "a"}
    keys = {"a": Key.generate(), "b": Key.generate()}  # new ones: their messages are counted

    def fetch() -> Mapping[str, Key]:
        other = "b" if source["primary"] == "a" else "a"
        return {name: keys[name] for name in (source["primary"], other)}

    store = stack().encrypt(Keyring.from_callable(fetch, refresh=60)).over(MemoryStore(clock=clock))
    encryption = store.find(Encryption)
    async with store:
        assert encryption.primary == "a"
        source["primary"] = "b"
        clock.advance(59)
        await store.put("k", 1)
        assert encryption.primary == "a"
        clock.advance(1)
        await store.put("k", 1)
        assert encryption.primary == "b"
        source["primary"] = "a"
        await encryption.reload()
        await store.put("k", 1)
        assert encryption.messages == {"a": 2, "b": 1}


async def test_cached_keys_stay_in_use_while_the_key_service_fails(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0

    async def fetch() -> Keyring:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise OSError("no route to secret-host")
        return RING

    store = stack().encrypt(Keyring.from_callable(fetch, refresh=10)).over(MemoryStore(clock=clock))
    await store.put("k", 1)
    clock.advance(10)
    for _ in range(3):
        assert await store.get("k") == 1
    assert calls == 2
    assert "continuing with the cached keys" in caplog.text
    assert "secret-host" not in caplog.text
    clock.advance(5)
    await store.get("k")
    assert calls == 3
    with pytest.raises(StoreUnavailable):
        await store.find(Encryption).reload()


async def test_opening_reports_a_key_service_that_fails_at_first() -> None:
    async def fetch() -> Keyring:
        raise OSError

    store = stack().encrypt(Keyring.from_callable(fetch)).over(MemoryStore())
    with pytest.raises(StoreUnavailable) as caught:
        await store.open()
    assert isinstance(caught.value.__cause__, OSError)
    wrong = stack().encrypt(Keyring.from_callable(lambda: {"a": b"short"})).over(MemoryStore())
    with pytest.raises(ConfigurationError, match="32 bytes"):
        await wrong.put("k", 1)


async def test_many_callers_fetch_once() -> None:
    calls = 0

    async def fetch() -> Keyring:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        return RING

    store = stack().encrypt(Keyring.from_callable(fetch)).over(MemoryStore())
    await asyncio.gather(*(store.put(f"k{n}", n) for n in range(20)))
    assert calls == 1


async def test_a_cancelled_fetch_leaves_nothing_stuck() -> None:
    gate = asyncio.Event()

    async def fetch() -> Keyring:
        await gate.wait()
        return RING

    store = stack().encrypt(Keyring.from_callable(fetch)).over(MemoryStore())
    first = asyncio.create_task(store.put("a", 1))
    second = asyncio.create_task(store.put("b", 2))
    await ManualClock.settle()
    assert not store.idle
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    gate.set()
    await second
    assert store.idle
    assert await store.get("b") == 2
    assert await store.get("a") is None


@pytest.mark.parametrize(("fetch", "refresh"), [(None, None), ("x", None), (dict, 0), (dict, -1)])
def test_invalid_arguments_are_refused(fetch: Any, refresh: Any) -> None:
    with pytest.raises(ValueError):
        Keyring.from_callable(fetch, refresh=refresh)


async def test_a_function_that_hangs_is_given_up(clock: ManualClock) -> None:
    hangs, calls = False, 0

    async def fetch() -> Keyring:
        nonlocal calls
        calls += 1
        if hangs:
            await asyncio.Event().wait()
        return RING

    keyring = Keyring.from_callable(fetch, refresh=60, timeout=0.5)
    store = stack().encrypt(keyring).over(MemoryStore(clock=clock))
    await store.put("k", 1)
    clock.advance(61)
    hangs = True
    assert await store.get("k") == 1, "the cached keys stay in use"
    with pytest.raises(StoreTimeout, match=r"within 0\.5 seconds"):
        await store.find(Encryption).reload()
    hangs = False
    await store.find(Encryption).reload()
    assert calls == 4
    with pytest.raises(ConfigurationError, match="timeout"):
        Keyring.from_callable(fetch, timeout=0)


async def test_a_blocking_function_that_hangs_is_given_up() -> None:
    release = threading.Event()
    keyring = Keyring.from_callable(release.wait, timeout=0.02)
    try:
        with pytest.raises(StoreTimeout):
            await stack().encrypt(keyring).over(MemoryStore()).put("k", 1)
    finally:
        release.set()
