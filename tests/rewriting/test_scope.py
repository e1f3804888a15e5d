"""Which entries a rewrite includes, and the stores that it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from kvwrap import (
    Capability,
    ConfigurationError,
    Keyring,
    MemoryStore,
    Store,
    UnsupportedOperation,
    rewrite,
    stack,
)
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import Collection, Expected
from tests.rewriting.entries import NEW, OLD, fill


async def test_entries_of_other_prefixes_are_not_touched(backend: Callable[[], Store]) -> None:
    base = backend()
    others = stack().prefix_collection("other-").encrypt(Keyring.generate("theirs")).over(base)
    await others.put("k", {"n": 1}, collection="x")
    store = stack().prefix_collection("app-").encrypt(OLD).over(base)
    await store.put("k", {"n": 2}, collection="x")
    report = await rewrite(stack().prefix_collection("app-").encrypt(NEW).over(base))
    assert (report.seen, report.rewritten, report.failed) == (1, 1, 0)
    assert await others.get("k", collection="x") == {"n": 1}


async def test_several_layers_that_rename_are_followed_in_their_order() -> None:
    renaming = stack().prefix_key("a:").prefix_key("b:").prefix_collection("c-")
    base = MemoryStore()
    await renaming.encrypt(OLD).over(base).put_many(["k", "other"], [1, 2], collection="users")
    store = renaming.encrypt(NEW).over(base)
    report = await rewrite(store, collections=["users"], prefix="k")
    assert (report.seen, report.rewritten, report.gone) == (1, 1, 0)
    assert report.collections["users"].rewritten == 1
    retired = renaming.encrypt(NEW.retired("old")).over(base)
    assert await retired.get("k", collection="users") == 1
    assert (await rewrite(store)).keys == {"new": 2}


async def test_only_the_named_collections_are_rewritten() -> None:
    base = MemoryStore()
    await fill(stack().prefix_collection("app-").encrypt(OLD).over(base), 10)
    store = stack().prefix_collection("app-").encrypt(NEW).over(base)
    report = await rewrite(store, collections=["users", None])
    assert report.rewritten == 20
    assert not report.complete
    assert report.retirable == []
    assert "not complete" in str(report)


class WithoutVersions(MemoryStore):
    """Cannot compare versions."""

    capabilities = MemoryStore.capabilities - {Capability.COMPARE_AND_PUT}

    async def write(
        self,
        collection: Collection,
        keys: Sequence[str],
        entries: Sequence[Entry],
        expected: Sequence[Expected] | None = None,
    ) -> list[bool]:
        assert expected is None
        return await super().write(collection, keys, entries)


async def test_stores_that_cannot_compare_versions_need_exclusive() -> None:
    base = WithoutVersions()
    await stack().encrypt(OLD).over(base).put("k", 1)
    store = stack().encrypt(NEW).over(base)
    with pytest.raises(UnsupportedOperation, match="exclusive=True"):
        await rewrite(store)
    assert (await rewrite(store, dry_run=True)).rewritten == 1
    assert (await rewrite(store, exclusive=True)).keys == {"new": 1}
    assert await store.get("k") == 1


async def test_stores_that_cannot_enumerate_keys_are_refused() -> None:
    class WithoutKeys(MemoryStore):
        capabilities = frozenset({Capability.COMPARE_AND_PUT})

    with pytest.raises(UnsupportedOperation, match="enumerate its keys"):
        await rewrite(stack().encrypt(NEW).over(WithoutKeys()))


@pytest.mark.parametrize("collections", [False, True])
async def test_hashed_names_are_rewritten_under_their_hashes(collections: bool) -> None:
    base = MemoryStore()

    def hashed_store(keyring: Keyring) -> Store:
        hashed = (
            stack().prefix_collection("p-").hash_keys(b"0123456789abcdef", collections=collections)
        )
        return hashed.encrypt(keyring).over(base)

    await hashed_store(OLD).put_many(["a", "b"], [1, 2], collection="users")
    report = await rewrite(hashed_store(NEW))
    assert report.keys == {"new": 2}
    assert await hashed_store(NEW.retired("old")).get_many(["a", "b"], collection="users") == [1, 2]
    if collections:
        with pytest.raises(ConfigurationError, match="cannot be followed"):
            await rewrite(hashed_store(NEW), collections=["users"])
    else:
        assert (await rewrite(hashed_store(NEW), collections=["users"])).current == 2


async def test_a_stack_with_nothing_to_rewrite_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no layer of this stack changes bytes"):
        await rewrite(stack().statistics().over(MemoryStore()))
    with pytest.raises(ConfigurationError, match="batch"):
        await rewrite(stack().encrypt(NEW).over(MemoryStore()), batch=0)
