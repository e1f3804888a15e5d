"""SQLiteStore: limits, and what is evicted."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from pathlib import Path

import pytest

from kvwrap import ConfigurationError, SQLiteStore, ValueTooLarge
from kvwrap.testing import ManualClock
from tests.opened import opened_files


def weights(file: Path) -> list[tuple[int, ...]]:
    """Return the number of entries and of bytes, as counted and as they are.

    First those of both queues, then those of the main queue.
    """
    with contextlib.closing(sqlite3.connect(file)) as connection:
        counted = connection.execute(
            "SELECT sum(entries), sum(bytes), sum(entries * main), sum(bytes * main) "
            "FROM kvwrap_weights"
        )
        real = connection.execute(
            "SELECT count(*), ifnull(sum(length(entry)), 0), count(*) FILTER (WHERE queue > 0), "
            "ifnull(sum(length(entry)) FILTER (WHERE queue > 0), 0) FROM kvwrap"
        )
        return [counted.fetchone(), real.fetchone()]


async def test_the_number_of_entries_is_bounded(file: Path) -> None:
    async with SQLiteStore.from_url(f"sqlite:///{file}?max_entries=10") as store:
        for number in range(100):
            await store.put(f"k{number}", number, collection=f"c{number % 3}")
            assert await store.get(f"k{number}", collection=f"c{number % 3}") == number
        counted, real = weights(file)
        assert counted == real
        assert real[0] == 10


async def test_a_store_that_is_closed_has_no_file_open(file: Path) -> None:
    store = SQLiteStore(file, max_entries=10)
    await store.put("a", 1)
    names = {name for _, name in opened_files() if name.startswith(str(file))}
    assert not names or any(name.endswith("-uses") for name in names)
    await store.close()
    assert not {name for _, name in opened_files() if name.startswith(str(file))}


async def test_the_size_is_bounded(file: Path) -> None:
    async with SQLiteStore.from_url(f"sqlite:///{file}?max_bytes=20000") as store:
        for number in range(200):
            await store.put(f"k{number % 50}", "x" * (number * 37 % 3000))
            assert await store.get(f"k{number % 50}") is not None
            counted, real = weights(file)
            assert counted == real
            assert real[1] <= 20_000
        assert real[0] > 5
        with pytest.raises(ValueTooLarge, match="max_bytes=20000") as caught:
            await store.put_many(["a", "b"], [1, "x" * 20_001])
        assert caught.value.key == "b"
        assert await store.get("a") is None


async def test_what_is_used_stays(file: Path) -> None:
    async with SQLiteStore(file, max_entries=20) as store:
        await store.put_many([f"used{number}" for number in range(5)], [0] * 5)
        for number in range(200):
            await store.put(f"k{number}", number)
            if number % 3 == 0:
                await store.get_many([f"used{number}" for number in range(5)])
        assert await store.get_many([f"used{number}" for number in range(5)]) == [0] * 5


async def test_a_limit_of_bytes_weighs_what_is_new_by_its_bytes(file: Path) -> None:
    """By their number, one large entry that was used once would outlast many in use."""
    keys = [f"k{number}" for number in range(100)]
    async with SQLiteStore(file, max_bytes=25_000) as store:
        await store.put_many(keys, [0] * 100)
        await store.get_many(keys)
        await store.put("large", "x" * 12_000)
        await store.put("later", "x" * 12_000)
        assert await store.get_many(keys) == [0] * 100
        assert await store.exists("later")
        assert not await store.exists("large")


async def test_a_put_again_is_a_use(file: Path) -> None:
    async with SQLiteStore(file, max_entries=20) as store:
        for number in range(200):
            await store.put("used", number)
            await store.put(f"k{number}", number)
        assert await store.get("used") == 199


async def test_what_another_store_reads_stays(file: Path) -> None:
    async with SQLiteStore(file, max_entries=20) as store, SQLiteStore(file, max_entries=20) as two:
        await store.put("used", 1)
        for number in range(200):
            await store.put(f"k{number}", number)
            assert await two.get("used") == 1


async def test_a_key_that_comes_back_soon_stays(file: Path) -> None:
    async with SQLiteStore(file, max_entries=20) as store:
        await store.put_many([f"k{number}" for number in range(21)], [0] * 21)
        assert await store.get("k0") is None
        await store.put("k0", 1)
        for number in range(21, 100):
            await store.put(f"k{number}", number)
        assert await store.get("k0") == 1


async def test_expired_entries_are_removed_first(file: Path, clock: ManualClock) -> None:
    async with SQLiteStore(file, max_entries=3000, clock=clock) as store:
        lasting = [f"l{number}" for number in range(1000)]
        await store.put_many(lasting, [0] * 1000)
        await store.put_many([f"e{number}" for number in range(2000)], [0] * 2000, ttl=1)
        clock.advance(1)
        await store.put_many([f"n{number}" for number in range(2000)], [0] * 2000)
        assert await store.get_many(lasting) == [0] * 1000
        assert await store.count() == 3000


async def test_expired_entries_of_others_are_removed_first(file: Path, clock: ManualClock) -> None:
    lasting = [f"l{number}" for number in range(30)]
    async with SQLiteStore(file, clock=clock) as unlimited:
        await unlimited.put_many(lasting, [0] * 30)
        await unlimited.put_many([f"e{number}" for number in range(500)], [0] * 500, ttl=1)
        clock.advance(1)
        async with SQLiteStore(file, max_entries=40, clock=clock) as store:
            await store.put("new", 1)
            assert await store.get_many(lasting) == [0] * 30
            assert weights(file)[1][0] == 31


async def test_a_large_batch_keeps_its_last_entries(file: Path) -> None:
    async with SQLiteStore(file, max_entries=10) as store:
        keys = [f"k{number:03}" for number in range(100)]
        await store.put_many(keys, list(range(100)))
        assert await store.keys() == keys[90:]
        await asyncio.gather(*(store.put(f"n{number}", number) for number in range(64)))
        assert await store.count() == 10


async def test_one_entry_at_a_time(file: Path) -> None:
    async with SQLiteStore(file, max_entries=1) as store:
        for number in range(30):
            await store.put(f"k{number % 3}", number)
            assert await store.get(f"k{number % 3}") == number
            assert await store.count() == 1


async def test_limits_are_for_a_file_that_exists_and_for_changes_of_others(file: Path) -> None:
    async with SQLiteStore(file) as unlimited:
        await unlimited.put_many([f"k{number}" for number in range(50)], [0] * 50)
        async with SQLiteStore(file, max_entries=40) as store:
            await store.put("a", 1)
            assert await store.count() == 40
            await unlimited.put_many([f"n{number}" for number in range(50)], [0] * 50)
            await unlimited.delete_many(["n0", "n1"])
            await unlimited.put("n2", "longer")
            await store.cull()
            assert weights(file)[0] == weights(file)[1]
            assert await store.count() == 40
            assert await unlimited.destroy() is True
            assert weights(file) == [(0, 0, 0, 0)] * 2


async def test_a_lower_limit_is_reached_step_by_step(file: Path) -> None:
    async with SQLiteStore(file) as store:
        await store.put_many([f"k{number}" for number in range(2500)], [0] * 2500)
    async with SQLiteStore(file, max_entries=10) as store:
        await store.put("a", 1)
        assert await store.count() == 1501
        await store.cull()
        await store.cull()
        assert await store.count() == 10


async def test_rows_of_other_programs_are_evicted_whatever_their_names(file: Path) -> None:
    async with SQLiteStore(file, max_entries=10) as store:
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
            for name in ("CAST(x'ff61' AS TEXT)", "x'ff'", "'text'"):
                other.execute(
                    "INSERT INTO kvwrap (collection, key, version, entry) "
                    f"VALUES ('', {name}, 1, x'00')"
                )
        await store.put_many([f"k{number}" for number in range(20)], [0] * 20)
        assert weights(file)[1][0] == 10


async def test_reading_changes_no_file_of_the_database(file: Path) -> None:
    async with SQLiteStore(file, max_entries=10) as store:
        await store.put("a", 1)
        log = Path(f"{file}-wal").read_bytes()
        for _ in range(20):
            await store.get("a")
        assert Path(f"{file}-wal").read_bytes() == log


async def test_those_who_may_use_the_file_may_count_uses(file: Path) -> None:
    async with SQLiteStore(file) as store:
        await store.put("a", 1)
    file.chmod(0o660)
    async with SQLiteStore(file, max_entries=10, table="kvwrap") as store:
        await store.put("a", 1)
    assert Path(f"{file}-kvwrap-uses").stat().st_mode & 0o777 == 0o660


async def test_limits_in_memory_and_of_a_connection() -> None:
    async with SQLiteStore(":memory:", max_entries=5) as store:
        await store.put_many([f"k{number}" for number in range(20)], [0] * 20)
        assert await store.count() == 5
    with contextlib.closing(sqlite3.connect(":memory:", check_same_thread=False)) as client:
        async with SQLiteStore(client=client, max_bytes=1000) as store:
            for number in range(100):
                await store.put(f"k{number}", number)
            assert 5 < await store.count() < 100


async def test_a_file_that_can_only_be_read_has_no_uses(file: Path) -> None:
    async with SQLiteStore(file) as store:
        await store.put("a", 1)
    async with SQLiteStore(file, max_entries=5, read_only=True) as store:
        assert await store.get("a") == 1
    assert not [path.name for path in file.parent.iterdir() if "uses" in path.name]


@pytest.mark.parametrize("limit", [{"max_entries": 0}, {"max_bytes": -1}, {"max_entries": 1.5}])
def test_limits_must_be_counts(file: Path, limit: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        SQLiteStore(file, **limit)
