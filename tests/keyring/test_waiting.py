"""Callers that wait for a key: one call for all, also if it fails, and no wait without end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kvwrap import (
    Deadlock,
    EnvelopeKeyring,
    Keyring,
    MemoryStore,
    StoreUnavailable,
    stack,
)
from kvwrap.keyring import KeyCalls


class Service:
    """Provides a key, or fails; slowly either way."""

    def __init__(self) -> None:
        self.calls = 0
        self.is_down = True

    async def call(self, *_: object) -> Any:
        self.calls += 1
        await asyncio.sleep(0.01)
        if self.is_down:
            raise OSError("down")
        return {"a": b"k" * 32} if not _ else b"k" * 32


def keyrings(service: Service) -> dict[str, Any]:
    return {
        "live": Keyring.from_callable(service.call),
        "envelope": EnvelopeKeyring(
            {"a": b"wrapped"}, kek=KeyCalls(unwrap=service.call, wrap=service.call)
        ),
    }


@pytest.mark.parametrize("kind", ["live", "envelope"])
async def test_a_failing_service_is_called_once_for_all_that_wait(kind: str) -> None:
    service = Service()
    store = stack().encrypt(keyrings(service)[kind]).over(MemoryStore())
    puts = (store.put(f"k{number}", number) for number in range(20))
    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(*puts, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
    assert service.calls == 1
    service.is_down = False
    await store.put("k", 1)
    assert (await store.get("k"), service.calls) == (1, 2)
    assert store.idle


async def test_a_service_that_reads_its_key_from_the_store_it_encrypts_is_refused() -> None:
    async def fetch() -> Any:
        return await store.get("key")

    backend = MemoryStore()
    await stack().encrypt(Keyring({"a": b"k" * 32})).over(backend).put("key", "x")
    store = stack().encrypt(Keyring.from_callable(fetch)).over(backend)
    async with asyncio.timeout(30):
        with pytest.raises(Deadlock):
            await store.get("key")
    assert store.idle
