"""RedisStore: batches, expiry, conditional writes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import ABSENT
from kvwrap.stores.redis import RedisStore
from kvwrap.stores.redis.scripts import lifetime_argument, version_argument
from kvwrap.testing import ManualClock


async def test_a_batch_is_one_command(store: RedisStore, client: Any) -> None:
    keys = [f"k{i}" for i in range(200)]

    async def calls() -> dict[str, int]:
        stats = await client.info("commandstats")
        return {name.removeprefix("cmdstat_"): s["calls"] for name, s in stats.items()}

    await store.put_many(keys, keys)
    before = await calls()
    await store.put_many(keys, keys)
    assert await store.get_many(keys) == keys
    after = await calls()
    changed = {n: after[n] - before.get(n, 0) for n in after if after[n] != before.get(n, 0)}
    assert changed.pop("info") == 1
    assert changed == {"mset": 1, "mget": 1}


async def test_an_empty_batch_sends_no_command(store: RedisStore) -> None:
    assert await store.read(None, []) == []
    assert await store.write(None, [], []) == []
    assert await store.remove("c", []) == []
    assert await store.touch("c", [], []) == []


async def test_redis_removes_entries_when_they_expire_and_not_before(
    store: RedisStore, client: Any, namespace: str
) -> None:
    await store.put_many(["a", "b"], [1, 2], ttl=50)
    await store.put("c", 3)
    left = await client.pttl(f"{namespace}::a")
    assert 45_000 < left <= 50_001
    assert await client.pttl(f"{namespace}::c") == -1
    assert await store.expire("a", 100) is True
    assert 95_000 < await client.pttl(f"{namespace}::a") <= 100_001
    assert await store.expire("a", None) is True
    assert await client.pttl(f"{namespace}::a") == -1
    await store.put("d", 4, ttl=0.001)
    await asyncio.sleep(0.01)
    assert await client.exists(f"{namespace}::d") == 0


async def test_the_clock_of_the_store_decides_what_has_expired(
    redis_url: str, namespace: str, client: Any, clock: ManualClock
) -> None:
    async with RedisStore(redis_url, namespace=namespace, clock=clock) as store:
        await store.put_many(["a", "b", "c"], [1, 2, 3], ttl=10)
        await store.put("d", 4)
        versioned = await store.get_versioned("a")
        assert versioned is not None
        clock.advance(10)
        assert await client.exists(f"{namespace}::a") == 1
        assert await store.get_many(["a", "b", "d"]) == [None, None, 4]
        assert await store.keys() == ["d"]
        assert await store.compare_and_put("a", 5, versioned.version) is False
        assert await store.delete("a") is False
        assert await store.put_if_absent("b", 6) is True
        assert await store.get("b") == 6
        assert await store.delete_many(["b", "d"]) == 2
        assert await store.collections() == []
        assert await store.destroy() is False  # "c" had expired
        assert await client.keys(f"{namespace}*") == []


async def test_writing_an_expired_entry_removes_the_old_value(
    store: RedisStore, clock: ManualClock
) -> None:
    await store.put("a", 1)
    (entry,) = await store.read(None, ["a"])
    assert entry is not None
    assert await store.write(None, ["a"], [entry.with_expiry(entry.created_at - 5)]) == [True]
    assert await store.get("a") is None
    await store.put("a", 1)
    (entry,) = await store.read(None, ["a"])
    assert entry is not None
    gone = entry.with_expiry(entry.created_at - 5, entry.version ^ 1)
    assert await store.write(None, ["a"], [gone], [entry.version ^ 2]) == [False]
    assert await store.write(None, ["a"], [gone], [entry.version]) == [True]
    assert await store.exists("a") is False


async def test_conditional_writes_compare_every_byte_of_the_version(store: RedisStore) -> None:
    for version in (0, 1, 2**63, 2**64 - 1, 0x0A0D005C25000000):
        await store.write(None, ["a"], [Entry(b"1", codec.JSON, 0.0, None, version)])
        versioned = await store.get_versioned("a")
        assert versioned is not None
        assert versioned.version == version
        assert await store.compare_and_put("a", 2, version ^ 1) is False
        assert await store.compare_and_put("a", 2, version ^ 1 << 63) is False
        assert await store.compare_and_put("a", 2, -1) is False
        assert await store.compare_and_put("a", 2, 1 << 64) is False
        assert await store.compare_and_put("a", 2, version) is True


async def test_a_conditional_write_sent_again_after_a_lost_answer_succeeds(
    store: RedisStore,
) -> None:
    await store.put("a", 1)
    (before,) = await store.read(None, ["a"])
    await store.put("b", 2)
    (other,) = await store.read(None, ["b"])
    assert before is not None
    assert other is not None
    for _ in range(2):
        assert await store.write(None, ["a"], [other], [before.version]) == [True]


async def test_scripts_are_sent_again_when_the_server_forgets_them(
    store: RedisStore, client: Any
) -> None:
    for _ in range(2):
        await client.script_flush()
        keys = [f"k{i}" for i in range(5)]
        assert await store.delete_many(keys) in (0, 5)
        await client.script_flush()
        assert [await store.put_if_absent(key, 1) for key in keys] == [True] * 5
        assert await store.put_if_absent("k0", 1) is False
        await client.script_flush()
        assert len(await store.keys()) == 5


COUNTING = """
import asyncio, sys
from kvwrap.core.primitives import ABSENT
from kvwrap.stores.redis import RedisStore
from kvwrap.stores.redis.scripts import lifetime_argument, version_argument

async def main():
    async with RedisStore(sys.argv[1], namespace=sys.argv[2]) as store:
        async def count():
            for _ in range(1000):
                await store.increment("count")
        await asyncio.gather(*(count() for _ in range(8)))

asyncio.run(main())
"""


async def test_two_processes_of_eight_tasks_share_a_counter_exactly(
    store: RedisStore, redis_url: str, namespace: str
) -> None:
    processes = [
        subprocess.Popen([sys.executable, "-c", COUNTING, redis_url, namespace]) for _ in range(2)
    ]
    for process in processes:
        assert await asyncio.to_thread(process.wait, timeout=100) == 0
    assert await store.get("count") == 16_000


def test_the_arguments_of_scripts() -> None:
    assert lifetime_argument(None, 5) == ""
    assert lifetime_argument(105.0, 5.0) == "100000"
    assert lifetime_argument(105.0004, 5.0) == "100001"  # never less than the entry lives
    assert lifetime_argument(5.0001, 5.0) == "1"
    assert lifetime_argument(5.0, 5.0) == "0"
    assert lifetime_argument(4.0, 5.0) == "0"
    assert version_argument(None) == b"any"
    assert version_argument(ABSENT) == b"none"
    assert version_argument(0) == bytes(8)
    assert version_argument(2**64 - 1) == b"\xff" * 8
    assert version_argument(2**64) == version_argument(-1) == b"no version"


async def test_redis_keeps_an_entry_until_its_very_end(
    store: RedisStore, client: Any, namespace: str
) -> None:
    for write in (
        store.put("a", 1, ttl=100_000),
        store.put_many(["a"], [1], ttl=100_000),
        store.put_if_absent("b", 1, ttl=100_000),
    ):
        await write
    for key in "ab":
        assert 99_990_000 < await client.pttl(f"{namespace}::{key}") <= 100_000_001


async def test_removing_what_has_expired_frees_it(
    redis_url: str, client: Any, namespace: str, clock: ManualClock
) -> None:
    async with RedisStore(redis_url, namespace=namespace, clock=clock) as store:
        await store.put_many(["a", "b", "c"], [1, 2, 3], ttl=100)
        entries = [entry for entry in await store.read(None, ["a", "b", "c"]) if entry]
        clock.advance(100)
        assert await store.delete("a") is False
        assert await store.remove(None, ["b"], [entries[1].version ^ 1]) == [False]
        # A conditional write of an entry that has expired meanwhile removes what is there.
        assert await store.write(None, ["c"], [entries[2]], [ABSENT]) == [True]
        names = [f"{namespace}::{key}" for key in "abc"]
        assert await client.exists(*names) == 0
