"""Layers with records beside the data: destroying everything leaves the records."""

from __future__ import annotations

import pytest

from kvwrap import Capability, MemoryStore, UnsupportedOperation
from kvwrap.layers.base.keeping import Keeping
from tests.layers.without_capabilities import WithoutCapabilities

RECORDS = "kvwrap.records"


class Recording(Keeping):
    """Writes records, or may find those of other processes."""

    reserved = frozenset({RECORDS})

    def __init__(self, keeps_records: bool) -> None:
        self.keeps_records = keeps_records


@pytest.mark.parametrize("keeps_records", [True, False])
async def test_without_collections_only_a_layer_that_has_records_cannot_destroy(
    keeps_records: bool,
) -> None:
    base = MemoryStore()
    store = Recording(keeps_records).over(
        WithoutCapabilities(Capability.COLLECTIONS, Capability.KEYS).over(base)
    )
    await store.put("k", 1)
    assert (Capability.DESTROY in store.capabilities) is not keeps_records
    if keeps_records:
        with pytest.raises(UnsupportedOperation, match="everything but its records"):
            await store.destroy()
        assert await store.get("k") == 1
    else:
        assert await store.destroy() is True
        assert await store.get("k") is None


async def test_where_nobody_has_records_everything_is_destroyed_in_one_call() -> None:
    base = MemoryStore()
    store = Recording(False).over(WithoutCapabilities(Capability.DESTROY_COLLECTION).over(base))
    await store.put("k", 1)
    await store.put("k", 1, collection="c")
    assert await store.destroy() is True
    assert len(base) == 0


def test_a_layer_keeps_no_records_unless_it_says_so() -> None:
    assert not Keeping.keeps_records
    assert Capability.DESTROY in Keeping().over(MemoryStore()).capabilities


@pytest.mark.parametrize("keeps_records", [True, False])
@pytest.mark.parametrize("has_records", [True, False])
async def test_everything_but_the_records_is_destroyed(
    keeps_records: bool, has_records: bool
) -> None:
    base = MemoryStore()
    store = Recording(keeps_records).over(base)
    await store.put("k", 1)
    await store.put("k", 1, collection="c")
    (entry,) = await store.read(None, ["k"])
    assert entry is not None
    if has_records:
        await base.write(RECORDS, ["r"], [entry])
    assert await store.collections() == ["c"]
    assert await store.destroy() is True
    assert await store.destroy() is False
    assert (await store.keys(), await store.collections()) == ([], [])
    assert [entry is not None for entry in await base.read(RECORDS, ["r"])] == [has_records]
