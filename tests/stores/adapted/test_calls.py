"""Calls of objects that wait, hang and fail."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from kvwrap import StoreTimeout, StoreUnavailable, stack
from kvwrap.stores.adapted import AdaptedStore
from tests.stores.adapted.objects import Awaited, Plain


class Held(Plain):
    """Waits in `set` until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.go = threading.Event()
        self.threads: set[int] = set()

    def get(self, key: str) -> Any:
        self.threads.add(threading.get_ident())
        return super().get(key)

    def set(self, key: str, value: Any) -> None:
        self.entered.set()
        self.go.wait(60)
        super().set(key, value)


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.go.set()


async def test_a_blocking_object_leaves_the_event_loop_free(held: Held) -> None:
    async with AdaptedStore(held, timeout=60) as store:
        writing = asyncio.create_task(store.put("k", 1))
        while not held.entered.is_set():
            await asyncio.sleep(0)  # would not come back if the loop were blocked
        assert not store.idle
        held.go.set()
        await writing
        assert await store.get("k") == 1
        assert store.idle
    assert threading.get_ident() not in held.threads
    assert len(held.threads) == 1


async def test_a_call_that_hangs_is_a_timeout_and_so_is_each_behind_it(held: Held) -> None:
    store = AdaptedStore(held, timeout=0.05)
    with pytest.raises(StoreTimeout, match=r"the object with get and set did not answer") as raised:
        await store.put("k", 1, collection="c")
    assert (raised.value.store, raised.value.collection) == ("AdaptedStore", "c")
    assert raised.value.key == "k"
    with pytest.raises(StoreTimeout):
        await store.put("other", 1)
    await store.close()
    held.go.set()


class HeldReads(Plain):
    """Waits in `get` until it is let go, and keeps the keys it was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.asked: list[str] = []

    def get(self, key: str) -> Any:
        self.asked.append(key)
        self.go.wait(60)
        return super().get(key)


async def test_what_was_given_up_before_its_turn_never_runs() -> None:
    held = HeldReads()
    store = AdaptedStore(held, timeout=0.05)
    for key in ("first", "second"):
        with pytest.raises(StoreTimeout):
            await store.get(key)
    waiting = asyncio.create_task(store.get("third"))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    held.go.set()
    while True:  # until the thread is free, and not too busy
        try:
            await store.get("fourth")
            break
        except StoreTimeout:
            continue
    assert held.asked[0] == "first"
    assert set(held.asked) == {"first", "fourth"}
    await store.close()


async def test_a_cancelled_write_does_not_replace_a_newer_one(held: Held) -> None:
    async with AdaptedStore(held, timeout=60) as store:
        older = asyncio.create_task(store.put("k", "older"))
        while not held.entered.is_set():
            await asyncio.sleep(0)
        older.cancel()
        with pytest.raises(asyncio.CancelledError):
            await older
        newer = asyncio.create_task(store.put("k", "newer"))
        await asyncio.sleep(0)
        held.go.set()
        await newer
        assert await store.get("k") == "newer"


class HeldAsync(Awaited):
    """Waits in `set` until it is let go, in a thread that a cancellation does not reach."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = asyncio.Event()
        self.go = asyncio.Event()

    async def set(self, key: str, value: Any) -> None:
        async def wait() -> None:
            self.entered.set()
            await self.go.wait()
            self.content[key] = value

        self.waiting = asyncio.ensure_future(wait())
        await asyncio.shield(self.waiting)


async def test_a_cancelled_coroutine_does_not_replace_a_newer_one() -> None:
    held = HeldAsync()
    async with AdaptedStore(held, timeout=60) as store:
        older = asyncio.create_task(store.put("k", "older"))
        await held.entered.wait()
        older.cancel()
        with pytest.raises(asyncio.CancelledError):
            await older
        newer = asyncio.create_task(store.put("k", "newer"))
        await asyncio.sleep(0)
        held.go.set()
        await newer
        assert await store.get("k") == "newer"


async def test_a_coroutine_that_hangs_is_a_timeout() -> None:
    held = HeldAsync()
    store = AdaptedStore(held, timeout=0.05)
    for _ in range(2):
        with pytest.raises(StoreTimeout, match=r"did not answer within 0\.05 seconds"):
            await store.put("k", 1)
    held.go.set()
    await held.waiting
    await store.close()
    async with AdaptedStore(held, timeout=60) as patient:
        await patient.put("k", 2)
        assert await patient.get("k") == 2


def test_a_call_that_hangs_does_not_delay_the_end_of_the_program() -> None:
    program = """
import asyncio, threading
from kvwrap import StoreTimeout, adapt
class Hanging:
    def get(self, key): threading.Event().wait()
    def set(self, key, value): ...
async def main():
    store = adapt(Hanging(), timeout=0.05)
    try:
        await store.get("k")
    except StoreTimeout:
        print("in time")
    await store.close()
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100, check=True
    )
    assert (done.stdout, done.stderr) == ("in time\n", "")


class Timeout(Exception):  # as some libraries call theirs
    pass


@pytest.mark.parametrize(
    ("error", "meant"),
    [
        (OSError("hunter2"), StoreUnavailable),
        (Timeout(), StoreTimeout),
        (TimeoutError(), StoreTimeout),
    ],
    ids=lambda each: getattr(each, "__name__", type(each).__name__),
)
@pytest.mark.parametrize("kind", [Plain, Awaited])
async def test_an_error_of_the_object_is_the_cause_of_one_of_the_store(
    kind: Any, error: Exception, meant: type[Exception]
) -> None:
    class Failing(kind):  # type: ignore[misc,valid-type]  # a parameter
        def fail(self, key: str) -> Any:
            raise error

        get = fail

        async def afail(self, key: str) -> Any:
            raise error

    if kind is Awaited:
        Failing.get = Failing.afail
    async with stack().compress().over(AdaptedStore(Failing())) as store:
        with pytest.raises(StoreUnavailable) as raised:
            await store.get_many(["a", "b"], collection="c")
    assert type(raised.value) is meant
    cause = raised.value.__cause__
    # A TimeoutError is copied on its way from another thread.
    assert (type(cause), cause.args) == (type(error), error.args)  # type: ignore[union-attr]
    assert raised.value.collection == "c"
    assert "hunter2" not in str(raised.value)


async def test_a_failed_batch_names_the_keys_that_were_written() -> None:
    class Full(Plain):
        def set(self, key: str, value: Any) -> None:
            if len(self.content) >= 100:
                raise OSError("full")
            super().set(key, value)

    keys = [f"{number:03}" for number in range(200)]
    async with AdaptedStore(Full()) as store:
        with pytest.raises(StoreUnavailable) as raised:
            await store.put_many(keys, keys)
        assert raised.value.succeeded == tuple(keys[:64])


async def test_a_store_is_closed_and_opened_again() -> None:
    plain = Plain()
    store = AdaptedStore(plain)
    await store.put("k", 1)
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.get("k")
    async with store:
        assert await store.get("k") == 1


def test_one_store_serves_one_event_loop_after_another() -> None:
    store = AdaptedStore(Plain())
    asyncio.run(store.put("k", 1))
    assert asyncio.run(store.get("k")) == 1
    asyncio.run(store.close())
