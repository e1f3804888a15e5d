"""A layer under failures: altered bytes, a failing backend, cancelled calls."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable

import pytest

from kvwrap import (
    KvwrapError,
    Stack,
    Store,
    StoreUnavailable,
    stack,
)
from kvwrap.core.entry import Entry
from kvwrap.testing.clock import ManualClock
from kvwrap.testing.contract.layer_fixtures import VALUE, LayerFixtures
from kvwrap.testing.tap import Tap, corruptions

KEYS = [f"key {number}" for number in range(8)]
_caller: contextvars.ContextVar[str] = contextvars.ContextVar("caller", default="nobody")


class Failures(LayerFixtures):
    """Altered bytes, a failing backend and a cancelled call result in typed errors."""

    async def test_altered_bytes_raise_a_typed_error(self, layers: Stack, backend: Store) -> None:
        stored: list[Entry] = []

        def record(entry: Entry) -> Entry:
            stored.append(entry)
            return entry

        async with (layers if self.writable else stack()).over(backend) as writer:
            await writer.put_many(KEYS, [VALUE] * len(KEYS))
        async with (layers + stack(Tap(alter=record))).over(backend) as store:
            # A layer may keep some keys outside the backend.
            readable = [key for key in KEYS if await store.get(key) == VALUE and stored]
        if not readable:
            return
        key, entry = readable[0], stored[0]
        authenticated = any("encrypts" in layer.traits for layer in layers)
        for altered in corruptions(entry):
            # One stack for each, so that no near copy is served.
            async with (layers + stack(Tap(alter=_always(altered)))).over(backend) as store:
                try:
                    value = await store.get(key)
                except KvwrapError as error:
                    assert "value under test" not in str(error)
                else:
                    # Without authentication, altered bytes may happen to be a valid value.
                    assert not authenticated, f"altered bytes were read as {value!r}"

    async def test_an_encrypted_entry_cannot_be_read_under_another_key(
        self, layers: Stack, backend: Store
    ) -> None:
        if not any("encrypts" in layer.traits for layer in layers):
            return  # without encryption, only the checksum of a store that keeps bytes detects this
        stored: list[Entry] = []

        def record(entry: Entry) -> Entry:
            stored.append(entry)
            return entry

        async with (layers + stack(Tap(alter=record))).over(backend) as store:
            await store.put("one", "of one")
            await store.put("one", "of another collection", collection="other")
            await store.get("one")
        async with (layers + stack(Tap(alter=_always(stored[-1])))).over(backend) as store:
            await store.put("two", "of two")
            assert await store.get("one") == "of one"
            with pytest.raises(KvwrapError):
                await store.get("two")
            with pytest.raises(KvwrapError):
                await store.get("one", collection="other")

    async def test_a_failing_backend_raises_a_typed_error(
        self, layers: Stack, backend: Store, clock: ManualClock
    ) -> None:
        cause = ConnectionResetError("by the test")

        async def fail(operation: str) -> None:
            raise StoreUnavailable("the backend is down") from cause

        async with (layers + stack(Tap(before=fail))).over(backend) as store:
            for call in self.calls(store):
                try:
                    await self.finish(clock, call())
                except KvwrapError as error:
                    assert isinstance(error, StoreUnavailable) or not self.writable

    async def test_a_cancelled_call_leaves_no_lock_held(
        self, layers: Stack, backend: Store, clock: ManualClock
    ) -> None:
        held = asyncio.Event()
        open_gate = asyncio.Event()

        async def hold(operation: str) -> None:
            held.set()
            await open_gate.wait()

        async with (layers + stack(Tap(before=hold))).over(backend) as store:
            for call in self.calls(store):
                held.clear()
                open_gate.clear()
                tasks = [asyncio.create_task(call()) for _ in range(3)]
                await asyncio.sleep(0.002)
                for task in tasks:
                    task.cancel()
                for result in await asyncio.gather(*tasks, return_exceptions=True):
                    if isinstance(result, BaseException):
                        assert isinstance(result, asyncio.CancelledError | KvwrapError)
                open_gate.set()
                await self.finish(clock, self.ignore_errors(call))
            if self.writable:
                await self.finish(clock, store.put("key", VALUE))
                assert await self.finish(clock, store.get("key")) == VALUE

    async def test_the_callers_context_reaches_the_backend(
        self, layers: Stack, backend: Store
    ) -> None:
        seen = []

        async def record(operation: str) -> None:
            seen.append(_caller.get())

        async with (layers + stack(Tap(before=record))).over(backend) as store:
            _caller.set("the caller")
            seen.clear()
            await store.get("never put")
        assert not seen or seen[0] == "the caller"


def _always(entry: Entry) -> Callable[[Entry], Entry]:
    return lambda _: entry
