"""What the layer does when things go wrong."""

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
from kvwrap.testing.contract.layer_base import VALUE, LayerParts
from kvwrap.testing.tap import Tap, corruptions

KEYS = [f"key {number}" for number in range(8)]
_who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


class Trouble(LayerParts):
    """Altered bytes, a failing backend and a cancelled call come out as typed errors."""

    async def test_altered_bytes_give_a_typed_error(self, layers: Stack, backend: Store) -> None:
        stored: list[Entry] = []

        def noted(entry: Entry) -> Entry:
            stored.append(entry)
            return entry

        async with (layers if self.writable else stack()).over(backend) as writer:
            await writer.put_many(KEYS, [VALUE] * len(KEYS))
        async with (layers + stack(Tap(alter=noted))).over(backend) as store:
            # A layer may keep some keys elsewhere than in the backend.
            found = [key for key in KEYS if await store.get(key) == VALUE and stored]
        if not found:
            return
        key, entry = found[0], stored[0]
        authenticated = any("encrypts" in layer.traits for layer in layers)
        for altered in corruptions(entry):
            # A stack of its own for each, so that no nearer copy answers.
            async with (layers + stack(Tap(alter=_always(altered)))).over(backend) as store:
                try:
                    value = await store.get(key)
                except KvwrapError as error:
                    assert "value under test" not in str(error)
                else:
                    # Without authentication, bytes that are valid again are a value again.
                    assert not authenticated, f"altered bytes gave {value!r}"

    async def test_another_keys_entry_does_not_open_where_encrypted(
        self, layers: Stack, backend: Store
    ) -> None:
        if not any("encrypts" in layer.traits for layer in layers):
            return  # an entry's checksum finds it then, in stores that keep bytes
        stored: list[Entry] = []

        def noted(entry: Entry) -> Entry:
            stored.append(entry)
            return entry

        async with (layers + stack(Tap(alter=noted))).over(backend) as store:
            await store.put("one", "of one")
            await store.put("one", "of another collection", collection="there")
            await store.get("one")
        async with (layers + stack(Tap(alter=_always(stored[-1])))).over(backend) as store:
            await store.put("two", "of two")
            assert await store.get("one") == "of one"
            with pytest.raises(KvwrapError):
                await store.get("two")
            with pytest.raises(KvwrapError):
                await store.get("one", collection="there")

    async def test_a_failing_backend_gives_a_typed_error(
        self, layers: Stack, backend: Store, clock: ManualClock
    ) -> None:
        cause = ConnectionResetError("by the test")

        async def fail(operation: str) -> None:
            raise StoreUnavailable("the backend is down") from cause

        async with (layers + stack(Tap(before=fail))).over(backend) as store:
            for use in self.uses(store):
                try:
                    await self.finished(clock, use())
                except KvwrapError as error:
                    assert isinstance(error, StoreUnavailable) or not self.writable

    async def test_a_cancelled_call_leaves_no_stuck_lock(
        self, layers: Stack, backend: Store, clock: ManualClock
    ) -> None:
        held = asyncio.Event()
        open_gate = asyncio.Event()

        async def hold(operation: str) -> None:
            held.set()
            await open_gate.wait()

        async with (layers + stack(Tap(before=hold))).over(backend) as store:
            for use in self.uses(store):
                held.clear()
                open_gate.clear()
                tasks = [asyncio.create_task(use()) for _ in range(3)]
                await asyncio.sleep(0.002)
                for task in tasks:
                    task.cancel()
                for result in await asyncio.gather(*tasks, return_exceptions=True):
                    if isinstance(result, BaseException):
                        assert isinstance(result, asyncio.CancelledError | KvwrapError)
                open_gate.set()
                await self.finished(clock, self.quietly(use))
            if self.writable:
                await self.finished(clock, store.put("key", VALUE))
                assert await self.finished(clock, store.get("key")) == VALUE

    async def test_the_callers_context_reaches_the_backend(
        self, layers: Stack, backend: Store
    ) -> None:
        seen = []

        async def note(operation: str) -> None:
            seen.append(_who.get())

        async with (layers + stack(Tap(before=note))).over(backend) as store:
            _who.set("the caller")
            seen.clear()
            await store.get("never put")
        assert not seen or seen[0] == "the caller"


def _always(entry: Entry) -> Callable[[Entry], Entry]:
    return lambda _: entry
