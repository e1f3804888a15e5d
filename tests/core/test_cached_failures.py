"""Cached functions and `get_or_put` when the store, the data or the callbacks fail."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import make_dataclass

import pytest

from kvwrap import (
    ConfigurationError,
    CorruptEntry,
    DecryptionError,
    InvalidTTL,
    InvalidValue,
    Keyring,
    KvwrapError,
    MemoryStore,
    NullStore,
    Passthrough,
    ReadOnlyViolation,
    SerializationError,
    StoreUnavailable,
    ValueTooLarge,
    stack,
)


class NoWrites(Passthrough):
    async def write(self, collection, keys, entries, expected=None):
        raise StoreUnavailable("no writes", store=self.name)


def failing(layers):
    return layers.chaos(failure_rate=1).over(MemoryStore())


STACKS = {
    "plain": lambda path: failing(stack()),
    "fallback to nothing": lambda path: failing(stack().fallback(NullStore())),
    "fallback, both": lambda path: failing(stack().fallback(MemoryStore(), writes="both")),
    "fallback, journal": lambda path: failing(
        stack().fallback(MemoryStore(), writes="journal", journal=path)
    ),
    "read-through": lambda path: failing(stack().read_through(MemoryStore(), stale_if_error=60)),
    "no writes": lambda path: NoWrites().over(MemoryStore()),
    "read only": lambda path: stack().read_only().over(MemoryStore()),
    "too large": lambda path: stack().limit_size(1).over(MemoryStore()),
    "refused": lambda path: stack().validate(lambda *_: False).over(MemoryStore()),
}
STORES_IT = {"fallback, journal"}


@pytest.mark.parametrize("name", STACKS)
async def test_a_store_that_fails_costs_the_caching_and_never_the_result(name, tmp_path):
    async with STACKS[name](tmp_path / "journal") as store:

        @store.cached(ttl=60)
        async def double(number):
            return 2 * number

        assert [await double(21), await double(21)] == [42, 42]
        assert await store.get_or_put("k", lambda: 42, on_error="compute") == 42
        counts = store.computations
        if name in STORES_IT:
            assert counts.stored == 2
        else:
            assert counts.stored == 0
            assert counts.store_failures >= 3
            with pytest.raises(KvwrapError):
                await store.get_or_put("k", lambda: 42)


async def test_values_that_cannot_be_serialized_are_returned():
    store, value = MemoryStore(), {1, 2}

    async def waiting():
        return await store.get_or_put("k", lambda: value, on_error="compute")

    assert await asyncio.gather(waiting(), waiting()) == [value, value]
    assert await store.keys() == []
    with pytest.raises(SerializationError):
        await store.get_or_put("k", lambda: value)


async def test_failures_are_logged_once_an_interval(clock, caplog):
    store = stack().chaos(failure_rate=1).over(MemoryStore(clock=clock))
    with caplog.at_level(logging.WARNING, "kvwrap.computed"):
        for _ in range(3):
            await store.get_or_put("k", lambda: 1, on_error="compute")
        assert len(caplog.records) == 2, "one for reads and one for writes"
        clock.advance(59)
        await store.get_or_put("k", lambda: 1, on_error="compute")
        assert len(caplog.records) == 2
        clock.advance(1)
        await store.get_or_put("k", lambda: 1, on_error="compute")
        assert len(caplog.records) == 4
    assert store.computations.store_failures == 10
    assert store.computations.computed == 5


async def test_only_errors_of_the_store_are_covered():
    class Broken(Passthrough):
        async def read(self, collection, keys):
            raise AttributeError("a bug")

    with pytest.raises(AttributeError):
        await Broken().over(MemoryStore()).get_or_put("k", lambda: 1, on_error="compute")


INVALID = {
    "model": (lambda: stack(), lambda: stack(), InvalidValue),
    "serializer": (
        lambda: stack().serialize("pickle").silence("pickle-unprotected"),
        lambda: stack().serialize("json"),
        CorruptEntry,
    ),
    "keys": (
        lambda: stack().encrypt(Keyring({"2025": b"1" * 32})),
        lambda: stack().encrypt(Keyring({"2026": b"2" * 32})),
        DecryptionError,
    ),
}


@pytest.mark.parametrize("kind", INVALID)
async def test_what_no_longer_fits_is_computed_and_replaced(kind, caplog):
    old_layers, new_layers, error = INVALID[kind]
    base = MemoryStore()
    old_model = make_dataclass("User", [("name", str)])
    new_model = make_dataclass("User", [("name", str), ("email", str)])
    user = new_model("ada", "ada@example.org")
    old = old_layers().over(base)
    await old.typed(old_model).put("user", old_model("ada"))
    new = new_layers().over(base)
    with pytest.raises(error):
        await new.typed(new_model).get_or_put("user", lambda: user)
    calls = []

    @new.cached(model=new_model, key=lambda: "user")
    async def find():
        calls.append(1)
        return user

    assert [await find(), await find()] == [user, user]
    assert calls == [1]
    assert new.computations.invalid == 1
    assert await new.typed(new_model).get("user") == user
    assert "a stored value cannot be read, and is computed again: " in caplog.text
    assert "user" in caplog.text
    assert "ada" not in caplog.text


async def test_the_two_options_are_apart():
    store = stack().chaos().over(MemoryStore())
    await store.put("k", {"x": 1})
    numbers = store.typed(list[int])
    with pytest.raises(InvalidValue):
        await numbers.get_or_put("k", lambda: [1], on_error="compute")
    store.layers[0].down = True
    with pytest.raises(StoreUnavailable):
        await numbers.get_or_put("k", lambda: [1], on_invalid="compute")


async def test_a_typed_view_that_ignores_replaces():
    store = MemoryStore()
    await store.put("k", {"x": "1"})
    numbers = store.typed(list[int], on_invalid="ignore")
    assert await numbers.get_or_put("k", lambda: [1], keep=lambda value: value == [1]) == [1]
    assert await store.get("k") == [1]
    await store.put("k", "wrong")
    with pytest.raises(InvalidValue):
        await numbers.get_or_put("k", lambda: [1], on_invalid="raise")
    with pytest.raises(InvalidValue):
        await numbers.get_or_put("new", lambda: ["text"], on_error="compute")
    assert await numbers.get_or_put("t", lambda: [1], ttl=lambda value: 10 * len(value)) == [1]
    assert (await store.ttl("t"))[1] == pytest.approx(10, abs=1)


async def test_callbacks_that_fail():
    store = MemoryStore()

    def raises(value):
        raise LookupError

    async def is_async(value):
        return True

    for options, error in (
        ({"keep": raises}, LookupError),
        ({"ttl": raises}, LookupError),
        ({"keep": is_async}, ConfigurationError),
        ({"keep": lambda value: None}, ConfigurationError),
        ({"ttl": lambda value: "5"}, InvalidTTL),
        ({"ttl": lambda value: 0}, InvalidTTL),
    ):
        with pytest.raises(error):
            await store.get_or_put("k", lambda: 1, on_error="compute", **options)
    assert await store.keys() == []
    assert store.idle
    await store.get_or_put("k", lambda: 1, ttl=1e-6, stale_ttl=100)
    await asyncio.sleep(0.001)
    with pytest.raises(LookupError):
        await store.get_or_put("k", lambda: 2, keep=raises, ttl=1, stale_ttl=100)


async def test_a_layer_that_drops_values_still_drops_them():
    store = stack().limit_size(5, on_too_large="drop").over(MemoryStore())
    assert await store.get_or_put("k", lambda: "too long for it") == "too long for it"
    assert await store.keys() == []
    limited = stack().limit_size(5).over(MemoryStore())
    with pytest.raises(ValueTooLarge):
        await limited.get_or_put("k", lambda: "too long for it")
    with pytest.raises(ReadOnlyViolation):
        await stack().read_only().over(MemoryStore()).get_or_put("k", lambda: 1)


async def test_replicas_need_no_more_than_a_write_needs():
    down = stack().chaos().over(MemoryStore())
    store = (
        stack()
        .replicate({"b": MemoryStore(), "c": MemoryStore()}, read_quorum=2, write_quorum=2)
        .over(down)
    )
    down.layers[0].down = True
    assert await store.get_or_put("k", lambda: 1) == 1
    assert await store.get("k") == 1


async def test_values_that_cannot_be_read_are_logged_once_a_minute(clock, caplog):
    store = MemoryStore(clock=clock)
    numbers = store.typed(list[int], on_invalid="ignore")
    for seconds, logged in ((0, 1), (59, 1), (2, 2)):
        clock.advance(seconds)
        await store.put("k", "secret")
        assert await numbers.get_or_put("k", lambda: [1]) == [1]
        assert len(caplog.records) == logged
    assert "secret" not in caplog.text
