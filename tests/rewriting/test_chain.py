"""Layers between, inside and outside those that change bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kvwrap import (
    ConfigurationError,
    Keyring,
    MemoryStore,
    Passthrough,
    SQLiteStore,
    Stack,
    Store,
    rewrite,
    stack,
)
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected
from kvwrap.layers.base import Transform
from tests.rewriting.entries import NEW, OLD

pytestmark = pytest.mark.filterwarnings("ignore::kvwrap.StackWarning")

Made = Callable[[Keyring], Stack]
TEXT = "some text that repeats, some text that repeats, some text that repeats"


def between(keyring: Keyring) -> Stack:
    return (
        stack()
        .prefix_key("outermost:")
        .prefix_key("outside:")
        .compress(min_size=0)
        .statistics()
        .prefix_collection("between-")
        .retry()
        .encrypt(keyring)
        .prefix_key("inside:")
    )


def cached(keyring: Keyring) -> Stack:
    near = stack().compress(min_size=0).read_through(lambda: MemoryStore(), ttl=30)
    return near.encrypt(keyring)


def coalesced(keyring: Keyring) -> Stack:
    return stack().encrypt(keyring).prefix_key("p:").coalesce().retry().prefix_collection("q-")


@pytest.mark.parametrize("made", [between, cached, coalesced])
async def test_entries_are_followed_through_every_layer(made: Made) -> None:
    base = MemoryStore()
    keys = [f"k{n}" for n in range(30)]
    values = [{"n": n, "text": TEXT} for n in range(30)]
    await made(OLD).over(base).put_many(keys, values, collection="c")
    store = made(NEW).over(base)
    assert await store.get_many(keys, collection="c") == values  # into near stores
    dry = await rewrite(store, collections=["c"], prefix="k", dry_run=True)
    assert (dry.seen, dry.rewritten, dry.keys) == (30, 30, {"old": 30})
    report = await rewrite(store, batch=7)
    assert (report.seen, report.rewritten, report.failed) == (30, 30, 0)
    assert report.keys == {"new": 30}
    assert (await rewrite(store)).current == 30
    assert await made(NEW.retired("old")).over(base).get_many(keys, collection="c") == values


async def test_a_cache_between_does_not_hide_that_an_entry_is_sealed() -> None:
    base = MemoryStore()
    store = cached(OLD).over(base)
    await store.put("k", {"text": TEXT})
    await store.get("k")
    report = await rewrite(store)
    assert (report.current, report.unencrypted, report.keys) == (1, 0, {"old": 1})


async def test_a_near_store_inside_hears_of_what_is_rewritten(tmp_path: Path) -> None:
    """Its copies are sealed, and could not be read any more without the retired key."""
    base = MemoryStore()

    def made(keyring: Keyring) -> Store:
        near = SQLiteStore(tmp_path / "near.db")
        return stack().encrypt(keyring).read_through(near, ttl=600).over(base)

    async with made(OLD) as store:
        await store.put("k", 1)
        await store.get("k")
    async with made(NEW) as store:
        assert (await rewrite(store)).keys == {"new": 1}
    async with made(NEW.retired("old")) as store:
        assert await store.get("k") == 1


async def test_stores_between_which_entries_are_spread_are_refused() -> None:
    others = {"a": MemoryStore()}
    store = stack().compress().route(others).encrypt(NEW).over(MemoryStore())
    with pytest.raises(ConfigurationError, match=r"cannot follow entries through Routing"):
        await rewrite(store)
    outside = stack().route({"a": MemoryStore()}).compress().encrypt(NEW).over(MemoryStore())
    assert (await rewrite(outside)).seen == 0


class Renames(Passthrough):
    """Renames keys in a way that only itself knows."""

    traits = frozenset({"renames"})


async def test_names_that_cannot_be_followed_are_refused() -> None:
    store = stack().compress().layer(Renames()).encrypt(NEW).over(MemoryStore())
    with pytest.raises(ConfigurationError, match=r"cannot follow entries through Renames"):
        await rewrite(store)


class Holding(Passthrough):
    """Holds what is written, as a journal does until the backend has it."""

    def __init__(self) -> None:
        self.held: dict[str, Entry] = {}

    async def read(self, collection: Collection, keys: Sequence[str]) -> list[Entry | None]:
        entries = await self.inner.read(collection, keys)
        return [self.held.get(key, entry) for key, entry in zip(keys, entries, strict=True)]

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        self.held.update(zip(keys, entries, strict=True))
        return [True] * len(keys)


async def test_a_cache_behind_a_layer_that_holds_entries_is_not_bypassed() -> None:
    """The backend does not have yet what the layer holds."""
    base = MemoryStore()
    await stack().encrypt(NEW).over(base).put("k", 1)
    other = MemoryStore()
    await stack().encrypt(OLD).over(other).put("k", 2)
    near = stack().encrypt(NEW).layer(Holding()).read_through(lambda: MemoryStore(), ttl=30)
    store = near.over(base)
    (entry,) = await other.read(None, ["k"])
    assert entry is not None
    store.find(Holding).held["k"] = entry
    report = await rewrite(store)
    assert (report.rewritten, report.current, report.keys) == (1, 0, {"new": 1})
    assert await store.get("k") == 2


class Hiding(Transform):
    """Hides every entry whose value is 0."""

    def decode(self, entry: Entry, collection: Collection, key: str) -> Entry | None:
        return None if entry.body == b"0" else entry


async def test_entries_that_users_must_not_find_count_as_gone() -> None:
    base = MemoryStore()
    await stack().encrypt(OLD).over(base).put_many(["a", "b", "c"], [0, 1, 0])
    report = await rewrite(stack().layer(Hiding()).encrypt(NEW).over(base))
    assert (report.seen, report.gone, report.rewritten, report.failed) == (3, 2, 1, 0)
