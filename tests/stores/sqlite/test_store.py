"""SQLiteStore: names, expiry, opening and closing, URLs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvwrap import Capability, ConfigurationError, KvwrapError, StoreUnavailable
from kvwrap.core import codec
from kvwrap.core.entry import Entry
from kvwrap.core.ranges import prefix_end
from kvwrap.stores.sqlite import SQLiteStore
from kvwrap.testing import ManualClock

# -- names and enumeration ---------------------------------------------------------------


async def test_different_names_are_different_keys(file: Path) -> None:
    names = ["a", "A", "a ", "ä", "a\0", "a\0b", "a%", "a_", "'", '"', "𐀀", "\uffff", "%s", ":x"]
    async with SQLiteStore(file) as store:
        for collection in (None, *names):
            await store.put_many(
                names, [[collection, name] for name in names], collection=collection
            )
        for collection in (None, *names):
            values = await store.get_many(names, collection=collection)
            assert values == [[collection, name] for name in names]
            assert await store.keys(collection) == sorted(names)
        assert await store.collections() == sorted(names)
        assert await store.destroy_collection("a") is True
        assert await store.keys("A") == sorted(names)
        assert await store.keys() == sorted(names)


async def test_scan_pages_through_many_keys_in_the_order_of_code_points(file: Path) -> None:
    keys = [f"{i:05}" for i in range(1700)] + ["x\ud7ff", "x\ue000", "x\U0010ffff", "y"]
    async with SQLiteStore(file) as store:
        await store.put_many(keys, keys)
        assert await store.keys() == sorted(keys)
        assert [k async for k in store.scan(prefix="x")] == ["x\ud7ff", "x\ue000", "x\U0010ffff"]
        assert [k async for k in store.scan(prefix="x\ud7ff")] == ["x\ud7ff"]
        assert [k async for k in store.scan(start="00010", end="00013")] == keys[10:13]
        assert [k async for k in store.scan(prefix="0001", start="00018", end="1")] == keys[18:20]
        assert [k async for k in store.scan(prefix="9", end="5")] == []
        # Deletions and puts before the cursor do not change the pages after it.
        seen = []
        async for key in store.scan(start="00000", end="01700"):
            seen.append(key)
            if key == "00001":
                await store.delete_many(["00000", "00001"])
                await store.put("00000a", 1)
        assert seen == keys[:1700]


@given(st.lists(st.characters(codec="utf-8"), min_size=1, max_size=3), st.text(max_size=4))
def test_the_end_of_a_prefix_is_exact(prefix: list[str], other: str) -> None:
    start = "".join(prefix)
    end = prefix_end(start)
    inside = other >= start and (end is None or other < end)
    assert inside == other.startswith(start)


async def test_batches_may_be_larger_than_the_limit_of_variables(file: Path) -> None:
    keys = [f"k{i}" for i in range(5000)]
    async with SQLiteStore(file) as store:
        await store.put_many(keys, list(range(5000)))
        assert await store.get_many([*keys, "k7", "none"]) == [*range(5000), 7, None]
        assert await store.delete_many(keys) == 5000


# -- expiry and versions ---------------------------------------------------------------------


def _rows(file: Path) -> int:
    with contextlib.closing(sqlite3.connect(file)) as connection:
        count: int = connection.execute("SELECT count(*) FROM kvwrap").fetchone()[0]
        return count


async def test_cull_deletes_expired_entries_and_no_others(file: Path, clock: ManualClock) -> None:
    async with SQLiteStore(file, clock=clock) as store:
        await store.put_many([f"k{i}" for i in range(2500)], [0] * 2500, ttl=10)
        await store.put("later", 1, ttl=20)
        await store.put("never", 1)
        clock.advance(10)
        assert await store.keys() == ["later", "never"]
        assert _rows(file) == 2502
        await store.cull()
        assert _rows(file) == 2


async def test_each_write_deletes_some_expired_entries(file: Path, clock: ManualClock) -> None:
    async with SQLiteStore(file, clock=clock) as store:
        await store.put_many(["a", "b", "c"], [0] * 3, ttl=1)
        clock.advance(1)
        await store.put("d", 1)
        assert _rows(file) == 2
        await store.put("e", 1)
        assert _rows(file) == 2


async def test_an_expired_entry_is_absent_for_every_conditional_write(
    file: Path, clock: ManualClock
) -> None:
    async with SQLiteStore(file, clock=clock) as store:
        await store.put("a", 1, ttl=5)
        versioned = await store.get_versioned("a")
        assert versioned is not None
        assert await store.put_if_absent("a", 2) is False
        clock.advance(5)
        assert await store.compare_and_put("a", 3, versioned.version) is False
        assert await store.expire("a", 10) is False
        assert await store.delete("a") is False
        await store.put("a", 1, ttl=5)
        clock.advance(5)
        assert await store.put_if_absent("a", 2) is True
        assert await store.get("a") == 2


async def test_versions_use_all_64_bits(file: Path) -> None:
    async with SQLiteStore(file) as store:
        for version in (0, 1, 2**63 - 1, 2**63, 2**64 - 1):
            await store.write(None, ["a"], [Entry(b"1", codec.JSON, 0.0, None, version)])
            versioned = await store.get_versioned("a")
            assert versioned is not None
            assert versioned.version == version
            assert await store.compare_and_put("a", 1, (version + 1) % 2**64) is False
            for other in (version + 2**64, version - 2**64):
                assert await store.remove(None, ["a"], [other]) == [False]
            assert await store.compare_and_put("a", 1, version) is True


# -- opening, closing, describing ---------------------------------------------------------


async def test_entries_in_memory_last_as_long_as_the_store_is_open() -> None:
    store = SQLiteStore(":memory:")
    assert not store.capabilities & {Capability.PERSISTENT, Capability.SHARED}
    async with store:
        await store.put("a", 1)
        assert await store.increment("a") == 2
        assert await store.keys() == ["a"]
    async with store:
        assert await store.get("a") is None


async def test_closing_ends_the_threads_and_leaves_one_file(file: Path) -> None:
    store = SQLiteStore(file)
    await store.put("a", 1)

    def threads() -> list[str]:
        return [t.name for t in threading.enumerate() if file.name in t.name]

    assert threads()
    await store.close()
    async with asyncio.timeout(30):
        while threads():
            await asyncio.sleep(0.01)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    with pytest.raises(StoreUnavailable):
        await store.get("a")


@pytest.mark.parametrize(
    "arguments",
    [
        {"path": ""},
        {"path": "a\0b"},
        {"path": 5},
        {"path": "x", "table": "no table"},
        {"path": "x", "table": "sqlite_master"},
        {"path": "x", "table": 5},
        {"path": "x", "timeout": -1},
        {"path": "x", "timeout": float("nan")},
        {"path": "x", "timeout": None},
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match=f"`{list(arguments)[-1]}`"):
        SQLiteStore(**arguments)  # type: ignore[arg-type]  # wrong on purpose


def test_urls() -> None:
    assert SQLiteStore.from_url("sqlite:///a/b%20c.db?timeout=2&table=t").arguments == {
        "path": "a/b c.db",
        "timeout": 2.0,
        "table": "t",
    }
    assert SQLiteStore.from_url("sqlite:////var/x.db?threaded_reads=true").arguments == {
        "path": "/var/x.db",
        "threaded_reads": True,
    }
    assert SQLiteStore.from_url("sqlite://").arguments == {"path": ":memory:"}
    for url in (
        "sqlite://host/x.db",
        "sqlite:///x?timeot=1",
        "sqlite:///x?timeout=soon",
        "redis://x",
        "sqlite:///x?timeout=1&timeout=2",
        "sqlite:///run#01.db",
    ):
        with pytest.raises(KvwrapError):
            SQLiteStore.from_url(url)
    assert SQLiteStore.from_url("sqlite:///run%2301.db").arguments == {"path": "run#01.db"}
    with pytest.raises(ConfigurationError, match="did you mean 'timeout'"):
        SQLiteStore.from_url("sqlite:///x?timeot=1")


async def test_a_relative_path_is_that_of_the_folder_where_the_store_was_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    monkeypatch.chdir(one)
    stores = [SQLiteStore("app.db"), SQLiteStore.from_url("sqlite:///app.db")]
    monkeypatch.chdir(two)
    await stores[0].put("a", 1)
    assert await stores[1].get("a") == 1
    for store in stores:
        await store.close()
        monkeypatch.chdir(tmp_path)
        async with store:
            assert await store.get("a") == 1
    assert [path.name for path in tmp_path.rglob("*.db")] == ["app.db"]


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
async def test_new_files_are_for_their_user_alone(file: Path) -> None:
    async with SQLiteStore(file) as store:
        await store.put("k", 1)
        made = sorted(file.parent.iterdir())
        assert len(made) > 1, "there is a log beside the file"
        assert {path.stat().st_mode & 0o777 for path in made} == {0o600}
    file.chmod(0o640)
    async with SQLiteStore(file) as store:
        assert await store.get("k") == 1
    assert file.stat().st_mode & 0o777 == 0o640, "a file that exists stays as it is"
