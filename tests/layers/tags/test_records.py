"""The records of tags that are kept in memory."""

from __future__ import annotations

import asyncio
import random

from kvwrap import MemoryStore
from kvwrap.layers.tags.records import Records
from kvwrap.testing import ManualClock

IDENTITIES = [bytes([number]) * 8 for number in range(40)]


def records(base: MemoryStore) -> Records:
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
