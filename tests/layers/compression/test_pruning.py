"""Retiring and deleting dictionaries: only those that no entry and no process uses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kvwrap import ConfigurationError, MemoryStore, stack
from kvwrap.core import codec
from kvwrap.layers.compression.records import (
    RESERVED,
    DictionaryStore,
    dictionary_key,
    primary_key,
)
from kvwrap.testing import ManualClock
from tests.layers.compression.dictionary_stacks import (
    DAY,
    OTHERS,
    TRAINED_ON,
    Gate,
    Spy,
    ids_at_rest,
    part,
    process,
    step_of,
)
from tests.layers.compression.sample_records import records


async def test_prune_deletes_only_what_was_retired_long_ago_and_is_not_used(
    base: MemoryStore, clock: ManualClock
) -> None:
    store = process(base)
    value = records(1)[0]
    first = await part(store).train("users", samples=TRAINED_ON)
    await store.put("k", value, collection="users")
    second = await part(store).train("users", samples=OTHERS)
    clock.advance(DAY - 1)
    assert (await part(store).prune()).waiting == (first.id,)
    clock.advance(1)
    # Still used, by a copied entry.
    await base.write("elsewhere", ["k"], [e for e in await base.read("users", ["k"]) if e])
    found = await part(store).prune()
    assert (found.deleted, found.in_use, found.waiting) == ((), {first.id: 2}, ())
    await store.delete("k", collection="users")
    assert (await part(store).prune()).in_use == {first.id: 1}
    assert await process(base).get("k", collection="elsewhere") == value
    await base.delete("k", collection="elsewhere")
    assert (await part(store).prune()).deleted == (first.id,)
    assert await ids_at_rest(base) == {second.id}
    assert [info.id for info in await part(store).dictionaries("users")] == [second.id]
    primary = await DictionaryStore(base).read_primary("users")
    assert primary is not None
    assert primary.all == (bytes.fromhex(second.id),)  # no record grows for ever


async def test_retire_then_rewrite_then_prune_leaves_nothing(
    base: MemoryStore, clock: ManualClock
) -> None:
    store = process(base)
    value = records(1)[0]
    assert not await part(store).retire("users")
    info = await part(store).train("users", samples=TRAINED_ON)
    await store.put("k", value, collection="users")
    assert await part(store).retire("users")
    assert not await part(store).retire("users")
    clock.advance(DAY + 1)
    assert (await part(store).prune()).in_use == {info.id: 1}
    await store.put("k", value, collection="users")
    assert await step_of(base, "k") == codec.ZSTD
    assert (await part(store).prune()).deleted == (info.id,)
    assert await part(store).dictionaries("users") == []


async def test_a_dictionary_whose_record_is_lost_is_retired(base: MemoryStore) -> None:
    store = process(base)
    info = await part(store).train("users", samples=TRAINED_ON)
    await base.remove(RESERVED, [dictionary_key(bytes.fromhex(info.id))])
    assert await part(store).retire("users")
    await store.put("k", records(1)[0], collection="users")
    assert await step_of(base, "k") == codec.ZSTD
    assert await ids_at_rest(base) == set()


async def test_a_dictionary_made_primary_again_during_the_scan_stays(
    base: MemoryStore, clock: ManualClock
) -> None:
    one = stack().compress(dictionaries=True).layer(Spy()).over(base)
    other = process(base)
    value = records(1)[0]
    first = await part(one).train("users", samples=TRAINED_ON)
    await part(one).train("users", samples=OTHERS)
    await one.put("some", value, collection="others")
    clock.advance(DAY + 1)

    async def interfere() -> None:
        await part(other).train("users", samples=TRAINED_ON)
        await other.put("k", value, collection="users")

    one.find(Spy).before_listing = interfere
    assert (await part(one).prune()).deleted == ()
    assert one.find(Spy).before_listing is None
    assert (await step_of(base, "k"))[1:].hex() == first.id
    assert await process(base).get("k", collection="users") == value


@pytest.mark.parametrize("opened", ["before the deletion", "after the deletion"])
@pytest.mark.parametrize("stalled", [0, 3 * DAY])
async def test_a_training_that_runs_into_a_prune_keeps_its_dictionary(
    base: MemoryStore, clock: ManualClock, opened: str, stalled: float
) -> None:
    one = stack().compress(dictionaries=True).layer(Spy()).over(base)
    other = stack().compress(dictionaries=True).layer(Gate()).over(base)
    gate, value = other.find(Gate), records(1)[0]
    await part(one).train("users", samples=TRAINED_ON)
    await part(one).train("users", samples=OTHERS)
    await one.put("some", value, collection="others")
    clock.advance(DAY + 1)
    training: asyncio.Task[Any] | None = None

    async def begin() -> None:
        nonlocal training
        training = asyncio.create_task(part(other).train("users", samples=TRAINED_ON))
        await gate.reached.wait()

    async def finish() -> None:
        gate.opened.set()
        assert training is not None
        await training

    if stalled:
        # Retired again while it waits to become primary, long enough before the second prune.
        await begin()
        assert not (await part(one).prune()).deleted
        clock.advance(stalled)
    else:
        one.find(Spy).before_listing = begin
        assert not (await part(one).prune()).deleted
    if opened == "before the deletion":
        one.find(Spy).before_listing = finish
    await part(one).prune()
    await finish()
    await other.put("k", value, collection="users")
    assert (await step_of(base, "k"))[0] == codec.ZSTD_DICTIONARY
    assert await process(base).get("k", collection="users") == value
    clock.advance(DAY + 1)
    await part(one).prune()
    assert await process(base).get("k", collection="users") == value


async def test_a_dictionary_trained_again_is_not_retired(
    base: MemoryStore, clock: ManualClock
) -> None:
    store = process(base)
    first = await part(store).train("users", samples=TRAINED_ON)
    await part(store).train("users", samples=OTHERS)
    clock.advance(DAY + 1)
    assert await part(store).train("users", samples=TRAINED_ON) == first
    # Other processes may be writing with it, even if the primary is lost.
    await base.remove(RESERVED, [primary_key("users")])
    found = await part(store).prune()
    assert found.deleted == ()
    assert first.id in found.waiting


async def test_prune_waits_for_processes_that_may_not_have_looked_again(base: MemoryStore) -> None:
    store = process(base, refresh=60)
    with pytest.raises(ConfigurationError, match="grace"):
        await part(store).prune(grace=119)
    assert (await part(store).prune(grace=120)).deleted == ()
