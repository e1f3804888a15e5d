"""Dates of writes: drawn after what they replace, whatever the clocks, and hidden outward."""

from __future__ import annotations

import logging
import math
import struct
from pathlib import Path
from typing import Any

import pytest

from kvwrap import Keyring, MemoryStore, SQLiteStore, Store, stack
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.ttl import LATEST
from kvwrap.layers.replication import Replication
from kvwrap.testing import ManualClock
from tests.layers.connections import connect
from tests.layers.faulty import FaultyStore

HOUR = 3600.0
NEVER = struct.pack(">d", math.inf)


@pytest.fixture
def replicas(clock: ManualClock) -> list[FaultyStore]:
    return [FaultyStore(clock=clock) for _ in range(3)]


def over(replicas: list[Any], **options: Any) -> Store:
    arguments: Any = {"write_quorum": 2, "read_quorum": 2, "failures": 10**6, **options}
    return Replication(replicas[1:], **arguments).over(replicas[0])


def process(replicas: list[FaultyStore], ahead: float) -> Store:
    """Return the stack of another process over the same replicas, by a clock of its own."""
    clocks = [ManualClock(replica.clock.time() + ahead) for replica in replicas]
    return over([connect(*pair) for pair in zip(replicas, clocks, strict=True)])


def with_date(entry: Entry, data: bytes) -> Entry:
    """Return the entry with other data in the annotation of its date."""
    _, rest = codec.take_annotation(entry.codec, codec.WRITE_DATE)
    annotated = codec.annotation(codec.WRITE_DATE, data) + rest
    return Entry(entry.body, annotated, entry.created_at, entry.expires_at, entry.version)


def date_of(entry: Entry | None) -> bytes:
    assert entry is not None
    data, _ = codec.take_annotation(entry.codec, codec.WRITE_DATE)
    assert data is not None
    return data


def far_ahead(entry: Entry) -> Entry:
    return with_date(entry, b"\xff" * 18 + date_of(entry)[18:])


async def test_entries_come_back_as_they_were_written(replicas: list[FaultyStore]) -> None:
    store = over(replicas)
    written = [
        Entry(b"1", codec.JSON, 1_000.5, None, 7),
        Entry(b"2", codec.ZSTD + codec.JSON, 5e9, 2_000_000_009.123456, 8),
    ]
    await store.write("c", ["a", "b"], written)
    assert await store.read("c", ["a", "b", "missing"]) == [*written, None]
    for replica in replicas:
        kept = await replica.read("c", ["a", "b"])
        assert [len(date_of(entry)) for entry in kept] == [26, 26]


async def test_the_format_at_rest(replicas: list[FaultyStore], clock: ManualClock) -> None:
    """The format, read a second time, as another language would read it."""
    store = over(replicas, tombstone_ttl=500)
    now = clock.time()
    await store.put("a", 1, ttl=9)
    await store.put("b", 1)
    expiring, lasting = await replicas[2].read(None, ["a", "b"])
    assert expiring is not None
    assert expiring.expires_at == now + 9 + 60
    assert expiring.codec[:3] == b"\x3f\x1b\x02"
    assert expiring.codec[29:] == codec.JSON
    date = date_of(expiring)
    assert int.from_bytes(date[:8], "big") >> 16 == round(now * 1000)
    assert date[12:18] == bytes(6)
    assert struct.unpack(">d", date[18:]) == (now + 9,)
    assert lasting is not None
    assert lasting.expires_at is None
    assert date_of(lasting)[18:] == NEVER
    assert date_of(lasting)[8:12] != date[8:12]

    clock.advance(1)
    assert await store.compare_and_put("b", 2, lasting.version)
    (replaced,) = await replicas[2].read(None, ["b"])
    assert date_of(replaced) == date_of(lasting)[:12] + b"\x00\x00\x00\x00\x00\x01" + NEVER
    assert await store.delete("b")
    (tombstone,) = await replicas[2].read(None, ["b"])
    assert tombstone is not None
    assert tombstone.codec[29:] == b"\x9f" + codec.fingerprint("kvwrap.tombstone")
    assert (tombstone.body, tombstone.expires_at) == (b"", now + 1 + 500)
    assert date_of(tombstone)[:12] > date_of(replaced)[:12]
    assert date_of(tombstone)[12:] == bytes(6) + NEVER


async def test_a_replica_is_read_without_the_others(replicas: list[FaultyStore]) -> None:
    keyring = Keyring.generate()
    store = stack().encrypt(keyring).replicate(replicas[1:]).over(replicas[0])
    await store.put("a", {"n": 1}, ttl=9)
    alone = stack().encrypt(keyring).over(replicas[0])
    assert await alone.get("a") == {"n": 1}
    assert await alone.ttl("a") == ({"n": 1}, 9)


async def test_a_put_right_after_a_delete_is_read(replicas: list[FaultyStore]) -> None:
    store = over(replicas)
    for number in range(20):
        await store.put("a", "old")
        await store.delete("a")
        replicas[number % 3].down = True
        await store.put("a", number)  # at the same time by the clock
        replicas[number % 3].down = False
        assert await store.get("a") == number
        replicas[number % 3].down = True
        await store.delete("a")
        replicas[number % 3].down = False
        assert await store.get("a") is None


@pytest.mark.parametrize("behind", [0.2, 0.9 * HOUR])
async def test_a_process_whose_clock_is_behind_replaces_newer_dates(
    replicas: list[FaultyStore], behind: float
) -> None:
    here, there = process(replicas, 0), process(replicas, -behind)
    await here.put("a", 1)
    replicas[1].down = True
    await there.put("a", 2)
    replicas[1].down = False
    assert await here.get("a") == await there.get("a") == 2
    replicas[2].down = True
    assert await there.delete("a")
    replicas[2].down = False
    await here.find(Replication).repair_all()
    assert await here.get("a") is None
    assert await there.put_if_absent("a", 3)
    assert await here.increment("a") == 4


async def test_a_clock_that_is_set_back_draws_later_dates(clock: ManualClock) -> None:
    replicas = [FaultyStore(clock=clock) for _ in range(3)]
    store = over(replicas, write_quorum=1, read_quorum=3)
    replicas[0].down = replicas[1].down = True
    await store.put("a", 1)
    clock.jump(-60)
    replicas[0].down = False
    replicas[2].down = True
    await store.put("a", 2)
    replicas[2].down = replicas[1].down = False
    await store.find(Replication).repair_all()
    assert await store.get("a") == 2


async def test_entries_that_were_there_before_replication_are_the_oldest(
    replicas: list[FaultyStore], clock: ManualClock
) -> None:
    for key in "abc":
        await replicas[0].put(key, 1)
    clock.jump(-HOUR)  # creation times do not matter
    store = over(replicas)
    assert await store.get("a") == 1
    await store.put("a", 2)
    assert await store.increment("b") == 2
    assert await store.delete("c")
    await store.find(Replication).repair_all()
    assert await store.get_many(["a", "b", "c"]) == [2, 2, None]


async def test_a_date_from_the_future_does_not_roll_back_other_replicas(
    replicas: list[FaultyStore], caplog: pytest.LogCaptureFixture
) -> None:
    store = over(replicas)
    await store.put("balance", 100)
    (old,) = await replicas[1].read(None, ["balance"])
    assert old is not None
    await store.put("balance", 5)
    await replicas[1].write(None, ["balance"], [far_ahead(old)])
    with caplog.at_level(logging.WARNING, "kvwrap.replication"):
        assert await store.get("balance") == 5
        await store.find(Replication).repair_all()
    assert [record.name for record in caplog.records] == ["kvwrap.replication"]
    assert "balance" not in caplog.text
    for replica in replicas:
        assert await process([replica, replica, replica], 0).get("balance") == 5


@pytest.mark.parametrize("data", [b"\xff" * 26, b"\xff" * 18 + NEVER, b"\xff", b""])
async def test_damaged_dates_on_all_replicas_hinder_nothing(tmp_path: Path, data: bytes) -> None:
    disk = SQLiteStore(tmp_path / "a.db")
    replicas: list[Store] = [disk, MemoryStore(), MemoryStore()]
    store = over(replicas)
    async with store:
        for key in ("put", "delete", "expire", "increment", "pop"):
            await store.put(key, 1, ttl=500)
            for replica in replicas:
                (entry,) = await replica.read(None, [key])
                assert entry is not None
                await replica.write(None, [key], [with_date(entry, data)])
            assert await store.get(key) == 1
        await store.put("put", 2)
        assert await store.get("put") == 2
        assert await store.delete("delete")
        assert await store.get("delete") is None
        assert await store.expire("expire", 60)
        assert await store.get("expire") == 1
        assert await store.increment("increment") == 2
        assert await store.pop("pop") == 1
        assert await store.get("pop") is None
        assert sorted(await store.keys()) == ["expire", "increment", "put"]


async def test_a_full_count_of_conditional_writes_goes_on(replicas: list[FaultyStore]) -> None:
    store = over(replicas)
    await store.put("n", 1)
    for replica in replicas:
        (entry,) = await replica.read(None, ["n"])
        assert entry is not None
        date = date_of(entry)
        full = with_date(entry, date[:12] + b"\xff" * 6 + date[18:])
        await replica.write(None, ["n"], [full])
    assert await store.increment("n") == 2
    assert await store.increment("n") == 3
    await store.put("n", 9)
    assert await store.get("n") == 9


async def test_the_count_of_conditional_writes_goes_on_beyond_32_bits(
    replicas: list[FaultyStore],
) -> None:
    store = over(replicas)
    await store.put("n", 1)
    for replica in replicas:
        (entry,) = await replica.read(None, ["n"])
        assert entry is not None
        date = date_of(entry)
        many = with_date(entry, date[:12] + (2**32 - 2).to_bytes(6, "big") + date[18:])
        await replica.write(None, ["n"], [many])
    dates = []
    for value in (2, 3, 4, 5):
        assert await store.increment("n") == value
        (entry,) = await replicas[0].read(None, ["n"])
        dates.append(date_of(entry)[:18])
    assert dates == sorted(set(dates))


@pytest.mark.parametrize("start", [0.0, LATEST - 10, LATEST + HOUR, -HOUR])
async def test_clocks_out_of_range_are_bounded(start: float) -> None:
    clock = ManualClock(start)
    replicas = [MemoryStore(clock=clock) for _ in range(3)]
    store = over(replicas)

    async def damage() -> None:
        await store.put("a", 2)
        for replica in replicas:
            (entry,) = await replica.read(None, ["a"])
            assert entry is not None
            await replica.write(None, ["a"], [far_ahead(entry)])

    for value in range(3):
        await store.put("a", value)
        assert await store.get("a") == value
    await damage()
    await store.put("a", 3)
    await damage()
    assert await store.increment("a") == 3
    await damage()
    assert await store.delete("a")


@pytest.mark.parametrize("has_date", [False, True])
async def test_creation_times_in_the_last_year_hinder_nothing(
    tmp_path: Path, has_date: bool
) -> None:
    disk = SQLiteStore(tmp_path / "a.db")
    store = stack().replicate([MemoryStore()], read_quorum=2).over(disk)
    async with store:
        await store.put_many(["x", "y", "z"], [1, 1, 1])
        for key in "xyz":
            (entry,) = await disk.read(None, [key])
            assert entry is not None
            kept = entry.codec if has_date else codec.JSON
            await disk.write(None, [key], [Entry(b"1", kept, LATEST, None, 9)])
        assert await store.expire("x", 60)
        assert await store.delete("y")
        assert await store.increment("z") == 2
        assert await store.get_many(["x", "y", "z"]) == [1, None, 2]


async def test_an_expired_lock_is_not_restored_by_a_clock_behind(
    replicas: list[FaultyStore], clock: ManualClock
) -> None:
    store = over(replicas)
    await store.put("lock", "first", ttl=5)
    clock.advance(5.1)
    replicas[2].down = True
    assert await store.put_if_absent("lock", "second", ttl=100)
    replicas[2].down = False
    clock.jump(-0.2)  # as a process sees it whose clock is behind
    replicas[0].down = True
    assert await store.get("lock") == "second"
    replicas[0].down = False
    await store.find(Replication).repair_all()
    assert await store.get("lock") == "second"


@pytest.mark.parametrize(("ahead", "believed"), [(HOUR - 1, True), (HOUR + 1, False)])
async def test_dates_are_believed_up_to_an_hour_ahead(
    replicas: list[FaultyStore], ahead: float, believed: bool
) -> None:
    store = over(replicas)
    replicas[2].down = True
    await store.put("a", "here")
    replicas[2].down = False
    await process([replicas[2]] * 3, ahead).put("a", "ahead")
    await store.find(Replication).repair_all()
    assert await store.get("a") == ("ahead" if believed else "here")


async def test_a_leap_of_the_clock_is_over_when_it_is_set_right(
    replicas: list[FaultyStore], clock: ManualClock
) -> None:
    store = over(replicas)
    clock.jump(3 * HOUR)
    await store.put("a", 1)
    clock.jump(-3 * HOUR)
    await store.put("b", 1)
    replicas[2].down = True
    await store.put("b", 2)
    replicas[2].down = False
    await process(replicas, 0).find(Replication).repair_all()
    assert await process([replicas[2]] * 3, 0).get("b") == 2
    tick = int.from_bytes(date_of((await replicas[0].read(None, ["b"]))[0])[:8], "big")
    assert tick <= (clock.time() + HOUR) * 1000 * 65_536


async def test_an_entry_is_missing_from_its_expiry_on(
    replicas: list[FaultyStore], clock: ManualClock
) -> None:
    store = over(replicas)
    await store.put("a", 1, ttl=5)
    clock.advance(4.9)
    value, remaining = await store.ttl("a")
    assert value == 1
    assert remaining == pytest.approx(0.1)
    clock.advance(0.1)
    assert await store.get("a") is None
    assert await store.keys() == []
    assert not await store.delete("a")
    await store.put("b", 1, ttl=5)
    clock.advance(65)
    await store.cull()
    assert [len(replica) for replica in replicas] == [1, 1, 1]  # the tombstone of "a"
