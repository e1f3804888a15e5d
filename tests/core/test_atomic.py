"""The methods built on conditional writes: lost races, and the names in hooks and errors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from kvwrap import (
    Capability,
    CorruptEntry,
    InvalidValue,
    KvwrapError,
    Layer,
    MemoryStore,
    Passthrough,
    SerializationError,
    StoreUnavailable,
)
from kvwrap.core.entry import Entry
from kvwrap.core.optimistic import ATTEMPTS
from kvwrap.core.primitives import Collection, Expected
from kvwrap.testing import ManualClock, Tap

Call = Callable[[Any], Awaitable[Any]]


class Names(Layer):
    """Records the names that are handed to the hooks."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, Collection]] = []

    def on_put(self, value: Any, key: str, collection: Collection) -> Any:
        self.seen.append(("put", key, collection))
        return value

    def on_get(self, value: Any, key: str, collection: Collection) -> Any:
        self.seen.append(("get", key, collection))
        return value


def put(*keys: str, collection: str = "c") -> list[tuple[str, str, str]]:
    return [("put", key, collection) for key in keys]


def got(*keys: str, collection: str = "c") -> list[tuple[str, str, str]]:
    return [("get", key, collection) for key in keys]


METHODS: dict[str, tuple[Call, list[tuple[str, str, str]]]] = {
    "get": (lambda s: s.get("k", collection="c"), got("k")),
    "get_many": (lambda s: s.get_many(["k", "l"], collection="c"), got("k", "l")),
    "ttl": (lambda s: s.ttl("k", collection="c"), got("k")),
    "ttl_many": (lambda s: s.ttl_many(["l", "k"], collection="c"), got("l", "k")),
    "put": (lambda s: s.put("k", 2, collection="c"), put("k")),
    "put_many": (lambda s: s.put_many(["k", "n"], [2, 3], collection="c"), put("k", "n")),
    "exists": (lambda s: s.exists("k", collection="c"), []),
    "require": (lambda s: s.require("k", collection="c"), got("k")),
    "pop": (lambda s: s.pop("k", collection="c"), got("k")),
    "put_if_absent": (lambda s: s.put_if_absent("n", 1, collection="c"), put("n")),
    "get_versioned": (lambda s: s.get_versioned("k", collection="c"), got("k")),
    "compare_and_put": (lambda s: s.compare_and_put("k", 1, 5, collection="c"), put("k")),
    "compare_and_delete": (lambda s: s.compare_and_delete("k", 5, collection="c"), []),
    "increment": (lambda s: s.increment("k", collection="c"), got("k") + put("k")),
    "increment, new": (lambda s: s.increment("n", collection="c"), put("n")),
    "expire": (lambda s: s.expire("k", 5, collection="c"), []),
    "move": (
        lambda s: s.move("k", "n", collection="c", target_collection="d"),
        got("k") + put("n", collection="d"),
    ),
    "get_or_put": (lambda s: s.get_or_put("k", int, collection="c"), got("k")),
    "get_or_put, new": (lambda s: s.get_or_put("n", int, collection="c"), put("n") + got("n")),
    "delete": (lambda s: s.delete("k", collection="c"), []),
}


async def filled() -> MemoryStore:
    store = MemoryStore()
    await store.put_many(["k", "l"], [1, 1], collection="c")
    return store


@pytest.mark.parametrize("method", METHODS)
async def test_hooks_get_the_names_of_the_call(method: str) -> None:
    call, expected = METHODS[method]
    store = Names().over(await filled())
    await call(store)
    assert store.find(Names).seen == expected


READS = ["get", "ttl", "require", "pop", "get_versioned", "increment", "move", "get_or_put"]


@pytest.mark.parametrize("method", READS)
async def test_errors_of_reading_have_the_names_of_the_call(method: str) -> None:
    store = Tap(alter=lambda entry: entry.with_body(b"{", entry.codec)).over(await filled())
    with pytest.raises(CorruptEntry) as caught:
        await METHODS[method][0](store)
    error = caught.value
    assert (error.store, error.collection, error.key) == ("MemoryStore", "c", "k")


BAD: dict[str, Call] = {
    "put": lambda s: s.put("n", {1, 2}, collection="c"),
    "put_many": lambda s: s.put_many(["x", "n"], [1, {1}], collection="c"),
    "put_if_absent": lambda s: s.put_if_absent("n", {1}, collection="c"),
    "compare_and_put": lambda s: s.compare_and_put("n", {1}, 5, collection="c"),
    "get_or_put": lambda s: s.get_or_put("n", set, collection="c"),
}


@pytest.mark.parametrize("method", BAD)
async def test_errors_of_writing_have_the_names_of_the_call_and_nothing_is_written(
    method: str,
) -> None:
    store = MemoryStore()
    with pytest.raises(SerializationError) as caught:
        await BAD[method](store)
    error = caught.value
    assert (error.store, error.collection, error.key) == ("MemoryStore", "c", "n")
    assert len(store) == 0


WRONG_TYPES: dict[str, Call] = {
    "of the value": lambda s: s.increment("k", collection="c"),
    "of delta": lambda s: s.increment("k", 1.5, collection="c"),
    "of initial": lambda s: s.increment("k", initial="1", collection="c"),
    "a bool": lambda s: s.increment("k", True, collection="c"),
}


@pytest.mark.parametrize("type_of", WRONG_TYPES)
async def test_increment_refuses_what_is_not_an_int(type_of: str) -> None:
    store = MemoryStore()
    await store.put("k", 1.5, collection="c")
    with pytest.raises(InvalidValue, match="int") as caught:
        await WRONG_TYPES[type_of](store)
    assert (caught.value.store, caught.value.collection, caught.value.key) == (
        "MemoryStore", "c", "k",
    )  # fmt: skip
    assert await store.get("k", collection="c") == 1.5


class Racing(Passthrough):
    """Lets another writer change the key before each of the first conditional changes."""

    def __init__(self, races: int) -> None:
        self.races = races
        self.changes = 0

    async def _race(self, collection: Collection, keys: Sequence[str], expected: object) -> None:
        if expected is None:
            return
        self.changes += 1
        if self.changes <= self.races:
            entries = await self.inner.read(collection, keys)
            body = str(10 * self.changes).encode()
            fresh = [
                Entry(body, entry.codec, entry.created_at, entry.expires_at, entry.version + 1)
                for entry in entries
                if entry is not None
            ]
            await self.inner.write(collection, keys, fresh)

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        await self._race(collection, keys, expected)
        return await self.inner.write(collection, keys, entries, expected)

    async def remove(
        self,
        collection: Collection,
        keys: Sequence[str],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        await self._race(collection, keys, expected)
        return await self.inner.remove(collection, keys, expected)


@pytest.mark.parametrize("races", [0, 1, 3])
async def test_what_is_lost_to_another_writer_is_done_again(races: int) -> None:
    newest = 10 * races or 1

    async def racing() -> tuple[MemoryStore, Any]:
        base = MemoryStore()
        await base.put("k", 1, ttl=100)
        return base, Racing(races).over(base)

    base, store = await racing()
    assert await store.pop("k", "default") == newest
    assert not await base.exists("k")

    base, store = await racing()
    assert await store.increment("k", 2) == newest + 2
    assert await base.get("k") == newest + 2
    assert (await base.ttl("k"))[1] is not None

    base, store = await racing()
    assert await store.move("k", "target")
    assert await base.get_many(["k", "target"]) == [None, newest]

    base, store = await racing()
    assert await store.find(Racing).touch(None, ["k"], [None]) == [True]


CONTENDED: dict[str, Call] = {
    "pop": lambda s: s.pop("k", collection="c"),
    "increment": lambda s: s.increment("k", collection="c"),
    "move": lambda s: s.move("k", "n", collection="c"),
}


@pytest.mark.parametrize("method", CONTENDED)
async def test_a_backend_at_which_every_attempt_fails_is_told(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[int] = []

    async def backoff(attempt: int) -> None:
        attempts.append(attempt)

    monkeypatch.setattr("kvwrap.core.atomic.ATTEMPTS", range(5))
    monkeypatch.setattr("kvwrap.core.atomic.backoff", backoff)
    store = Racing(len(ATTEMPTS)).over(await filled())
    with pytest.raises(StoreUnavailable, match=r"another writer .* or .* was altered") as caught:
        await CONTENDED[method](store)
    error: KvwrapError = caught.value
    assert (error.store, error.collection, error.key) == ("MemoryStore", "c", "k")
    assert store.find(Racing).changes == 5
    assert attempts == [0, 1, 2, 3, 4]


class Plain(MemoryStore):
    """A store that cannot compare versions."""

    capabilities = MemoryStore.capabilities - {Capability.COMPARE_AND_PUT}

    async def remove(self, collection: Any, keys: Any, expected: Any = None) -> list[bool]:
        assert expected is None
        return await super().remove(collection, keys, expected)


async def test_without_conditional_writes_pop_and_move_do_what_they_can() -> None:
    store = Plain()
    assert await store.pop("k", "default") == "default"
    await store.put("k", 1)
    assert await store.pop("k", "default") == 1
    assert not await store.move("k", "n")
    await store.put("k", 2)
    assert await store.move("k", "n")
    assert await store.get_many(["k", "n"]) == [None, 2]


class Vanishing(Plain):
    """Another process removes every entry just before this one does."""

    async def remove(self, collection: Any, keys: Any, expected: Any = None) -> list[bool]:
        await super().remove(collection, keys)
        return await super().remove(collection, keys)


async def test_without_conditional_writes_pop_gives_the_default_for_what_it_did_not_remove() -> (
    None
):
    store = Vanishing()
    await store.put("k", 1)
    assert await store.pop("k", "default") == "default"


async def test_move_keeps_the_ttl_and_onto_itself_changes_nothing(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock)
    await store.put("k", 1, ttl=10, collection="c")
    assert await store.move("k", "k", collection="c")
    assert await store.move("k", "k", collection="c", target_collection="c")
    assert not await store.move("x", "x", collection="c")
    clock.advance(4)
    assert await store.move("k", "k", collection="c", target_collection="d")
    assert await store.ttl("k", collection="d") == (1, 6.0)
    assert not await store.exists("k", collection="c")


async def test_the_ttl_of_a_computed_value_counts_from_when_it_was_computed(
    clock: ManualClock,
) -> None:
    store = MemoryStore(clock=clock)

    def factory() -> int:
        clock.advance(100)
        return 1

    assert await store.get_or_put("k", factory, ttl=10) == 1
    assert await store.ttl("k") == (1, 10.0)
    assert await store.increment("n", ttl=10) == 1
    clock.advance(4)
    assert await store.increment("n", ttl=100) == 2
    assert (await store.ttl("n"))[1] == 6.0
