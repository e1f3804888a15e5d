"""The records of tags that are kept in memory."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from kvwrap import AccessDenied, MemoryStore, Store, StoreUnavailable, UnsupportedOperation
from kvwrap.core.changes import Subscription
from kvwrap.layers.tags.records import MOMENT, Records
from kvwrap.stores.mapping import MappingStore
from kvwrap.testing import ManualClock
from tests.layers.tags.shared import unwatched

IDENTITIES = [bytes([number]) * 8 for number in range(40)]


def records(base: Store) -> Records:
    found = Records(base, is_cached=False, most_known=10)
    found.ready = base.ready
    return found


async def test_those_that_left_the_memory_are_read_again(clock: ManualClock) -> None:
    async with MemoryStore(clock=clock) as base:
        one, other = records(base), records(base)
        made = await one.ensure(IDENTITIES)
        assert await other.ensure(IDENTITIES) == made
        for _ in range(2):
            for identity, record in zip(IDENTITIES, made, strict=True):
                assert await one.ensure([IDENTITIES[0], identity]) == [made[0], record]
        await other.replace([IDENTITIES[5]])
        (changed,) = await one.ensure([IDENTITIES[5]])
        assert changed != made[5]
        await one.hearing.close()
        await other.hearing.close()


async def test_concurrent_calls_do_not_forget_what_another_needs(clock: ManualClock) -> None:
    rng = random.Random(1)
    async with MemoryStore(clock=clock) as base:
        kept = records(base)
        made = dict(zip(IDENTITIES, await kept.ensure(IDENTITIES), strict=True))

        async def use() -> None:
            for _ in range(50):
                some = rng.sample(IDENTITIES, 8)
                await kept.load(some)
                assert [kept.peek(each) for each in some] == [made[each] for each in some]
                await asyncio.sleep(0)

        await asyncio.gather(*(use() for _ in range(10)))
        await kept.hearing.close()


async def test_those_that_another_process_made_meanwhile_are_used(clock: ManualClock) -> None:
    async with unwatched(clock) as base:
        one, other = records(base), records(base)
        await one.load(IDENTITIES[:3])  # none is there
        made = await other.ensure(IDENTITIES[:2])
        found = await one.ensure(IDENTITIES[:3])
        assert found[:2] == made
        assert await other.ensure(IDENTITIES[:3]) == found


async def test_what_was_read_during_a_write_that_fails_is_read_again(clock: ManualClock) -> None:
    class Failing(MappingStore):
        is_held: asyncio.Event | None = None

        async def write(self, collection: Any, keys: Any, *args: Any) -> list[bool]:
            if self.is_held is None or keys[0] == MOMENT.decode():
                return await super().write(collection, keys, *args)
            await self.is_held.wait()
            await super().write(collection, keys, *args)
            raise StoreUnavailable("no answer")

    async with Failing({}, clock=clock) as base:
        one = records(base)
        (former,) = await one.ensure(IDENTITIES[:1])
        base.is_held = asyncio.Event()
        replacing = asyncio.create_task(one.replace(IDENTITIES[:1]))
        await clock.settle()
        assert await one.ensure(IDENTITIES[:1]) == [former]
        base.is_held.set()
        with pytest.raises(StoreUnavailable):
            await replacing
        assert await one.ensure(IDENTITIES[:1]) != [former]


async def test_a_change_that_is_told_outdates_its_record_alone(clock: ManualClock) -> None:
    async with MemoryStore(clock=clock) as base:
        one, other = records(base), records(base)
        made = await one.ensure(IDENTITIES[:3])
        await other.replace(IDENTITIES[:1])
        before = one.record_reads
        found = await one.ensure(IDENTITIES[:3])
        assert one.record_reads == before + 1
        assert found[0] != made[0]
        assert found[1:] == made[1:]
        await one.hearing.close()
        await other.hearing.close()


class Deaf(MemoryStore):
    """A store that tells changes, at which a subscription fails."""

    attempts = 0

    async def subscribe(self, *args: Any) -> Subscription:
        self.attempts += 1
        raise StoreUnavailable("down")


async def test_a_subscription_that_failed_is_tried_again_after_a_second(clock: ManualClock) -> None:
    async with Deaf(clock=clock) as base:
        kept = records(base)
        await kept.ensure(IDENTITIES[:1])
        await kept.ensure(IDENTITIES[1:2])
        clock.advance(0.9)
        await kept.ensure(IDENTITIES[2:3])
        assert base.attempts == 1
        clock.advance(0.1)
        await kept.ensure(IDENTITIES[3:4])
        assert base.attempts == 2


@pytest.mark.parametrize("refusal", [UnsupportedOperation("it cannot"), AccessDenied("no right")])
async def test_a_backend_that_refuses_to_tell_changes_is_asked_once(
    clock: ManualClock, refusal: Exception
) -> None:
    attempts = []

    class Refusing(MemoryStore):
        async def subscribe(self, *args: Any) -> Subscription:
            attempts.append(args)
            raise refusal

    async with Refusing(clock=clock) as base:
        kept = records(base)
        for number in range(3):
            await kept.ensure(IDENTITIES[number : number + 1])
            clock.advance(2)
        assert len(attempts) == 1
        assert kept.hearing.obstacle() == str(refusal)
        assert not kept.is_loaded(IDENTITIES[:1])
