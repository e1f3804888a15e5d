"""PostgreSQLStore: names, order, batches, expiry."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kvwrap import PostgreSQLStore, ValueTooLarge, store_from_url
from kvwrap.core.entry import Entry
from kvwrap.core.primitives import ABSENT, KeyRange
from kvwrap.stores.postgresql import batches, statements
from kvwrap.stores.postgresql import store as postgresql_store
from kvwrap.testing import ManualClock

NOW = 1_700_000_000.0


def entry(body: bytes, version: int, expires_at: float | None = None) -> Entry:
    return Entry(body, b"", NOW, expires_at, version)


async def test_it_is_opened_by_a_url(url: str, table: str, admin: Any) -> None:
    opened = store_from_url(f"{url}?table={table}&timeout=30&max_connections=2")
    async with opened as store:
        await store.put("k", {"a": 1})
        assert await store.get("k") == {"a": 1}
        assert await admin.fetchval(f'SELECT count(*) FROM "{table}"') == 1
    assert isinstance(opened, PostgreSQLStore)
    assert opened.location.startswith(
        f"table {table!r} in database 'postgres' of PostgreSQL at 127"
    )


async def test_nul_in_names(store: PostgreSQLStore) -> None:
    keys = ["a", "a\0", "a\0b", "\0", "a%00", "\\x00"]
    await store.put_many(keys, keys, collection="c\0d")
    assert await store.get_many(keys, collection="c\0d") == keys
    assert await store.keys("c\0d") == sorted(keys)
    assert await store.collections() == ["c\0d"]


async def test_keys_are_in_the_order_of_their_bytes(store: PostgreSQLStore) -> None:
    keys = ["Z", "a", "É", "é", "z", "\uff5e", "𝄞", "a b", "a-b", "A", "ä", "_", "~", "10", "9"]
    await store.put_many(keys, keys)
    assert await store.keys() == sorted(keys)
    assert [key async for key in store.scan(start="a", end="é")] == sorted(
        key for key in keys if "a" <= key < "é"
    )


LONG = ["x" * 1023, "x" * 1024, "x" * 1025, "x" * 1024 + "é", "x" * 1023 + "é", "x" * 1023 + "é!"]
LONG += ["x" * 1024 + end for end in ("a", "b", "c" * 3000, "\0", "y", "xx")] + ["x" * 100_000]


async def test_long_names_are_whole_and_in_order(store: PostgreSQLStore) -> None:
    collections = ["c" * 1024, "c" * 1025, "c" * 5000, "c" * 5000 + "d"]
    for collection in (None, *collections):
        await store.put_many(LONG, [len(key) for key in LONG], collection=collection)
    for collection in (None, *collections):
        assert await store.keys(collection) == sorted(LONG)
        assert await store.get_many(LONG, collection=collection) == [len(key) for key in LONG]
        for bound in LONG:
            found = [key async for key in store.scan(collection=collection, start=bound)]
            assert found == sorted(key for key in LONG if key >= bound)
            found = [key async for key in store.scan(collection=collection, end=bound)]
            assert found == sorted(key for key in LONG if key < bound)
            found = [key async for key in store.scan(collection=collection, prefix=bound)]
            assert found == sorted(key for key in LONG if key.startswith(bound))
    assert sorted(name or "" for name in await store.list_collections()) == sorted(
        ["", *collections]
    )
    assert await store.delete_many([LONG[4], LONG[-1], "x"]) == 2
    assert await store.put_if_absent(LONG[0], 1) is False
    assert await store.put_if_absent(LONG[4], 1) is True
    assert await store.increment("x" * 2000, 5) == 5
    assert await store.delete_where(prefix="x" * 1024) == len(
        [key for key in LONG if key.startswith("x" * 1024)]
    )  # one of them deleted, one incremented


async def test_batches_of_keys_that_longer_keys_begin_with(store: PostgreSQLStore) -> None:
    """The index has both under the same bytes."""
    short, other = ["x" * 1024, "y"], "x" * 1024 + "z"
    await store.put(other, "long")
    assert await store.get_many(short) == [None, None]
    assert await store.delete_many(short) == 0
    await store.put_many(short, [1, 2])
    assert await store.get_many(short) == [1, 2]
    assert await store.delete_many(short) == 2
    entries = [entry(b"1", 1)] * 2
    assert await store.write(None, short, entries, [ABSENT] * 2) == [True] * 2
    assert await store.write(None, short, [entry(b"2", 2)] * 2, [1] * 2) == [True] * 2
    assert await store.remove(None, short, [2] * 2) == [True] * 2
    assert await store.get(other) == "long"


async def test_what_is_dropped_goes_in_parts_of_any_size(
    url: str, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where more keys begin with the same bytes in the index than a part has rows."""
    for module in (statements, postgresql_store):
        monkeypatch.setattr(module, "DROPPED", 3)
    keys = [*LONG, *(f"k{number}" for number in range(7))]
    async with PostgreSQLStore(url, table=table) as store:
        for drop in (
            lambda: store.delete_where(collection="c"),
            lambda: store.destroy_collection("c"),
            store.destroy,
        ):
            await store.put_many(keys, [1] * len(keys), collection="c")
            await store.put("before", 1)
            assert await drop() in (len(keys), True)
            assert await store.keys("c") == []


async def test_a_key_twice_in_a_batch(store: PostgreSQLStore) -> None:
    await store.put_many(["a", "b", "a"], [1, 2, 3])
    assert await store.get_many(["a", "b", "a"]) == [3, 2, 3]
    assert await store.delete_many(["a", "a", "b"]) == 2


async def test_conditions_of_a_key_that_occurs_twice_apply_one_after_the_other(
    store: PostgreSQLStore,
) -> None:
    entries = [entry(b"%d" % number, 10 + number) for number in range(6)]
    keys = ["b", "a", "a", "a", "b", "a"]
    written = await store.write(None, keys, entries, [ABSENT, ABSENT, ABSENT, 11, None, 13])
    assert written == [True, True, False, True, True, True]
    assert await store.read(None, ["a", "b"]) == [entries[5], entries[4]]
    assert await store.remove(None, ["a", "a", "b", "b"], [14, 15, ABSENT, None]) == [
        False,
        True,
        False,
        True,
    ]


async def test_a_write_that_is_repeated_counts_as_written(store: PostgreSQLStore) -> None:
    first, second = entry(b"1", 1), entry(b"2", 2)
    for keys in (["a"], ["a", "b"]):
        count = len(keys)
        for _ in range(2):
            assert await store.write("c", keys, [first] * count, [ABSENT] * count) == [True] * count
        for _ in range(2):
            assert await store.write("c", keys, [second] * count, [1] * count) == [True] * count
        assert await store.write("c", keys, [first] * count, [ABSENT] * count) == [False] * count
        # A write that keeps its version must find it, and not in an expired entry.
        expired = entry(b"3", 2, expires_at=1.0)
        assert await store.write("c", keys, [expired] * count, [2] * count) == [True] * count
        assert await store.write("c", keys, [second] * count, [2] * count) == [False] * count
        await store.drop("c")


async def test_versions_over_63_bits_and_integers_that_are_none(store: PostgreSQLStore) -> None:
    large = entry(b"1", 2**64 - 1)
    assert await store.write(None, ["a"], [large], [ABSENT]) == [True]
    assert await store.write(None, ["a"], [entry(b"2", 5)], [-1]) == [False]
    assert await store.write(None, ["a"], [entry(b"2", 5)], [2**64]) == [False]
    assert await store.write(None, ["a"], [entry(b"2", 5)], [2**64 - 1]) == [True]


async def test_expired_entries_are_hidden_at_once_and_freed_by_cull(
    store: PostgreSQLStore, clock: ManualClock, table: str, admin: Any
) -> None:
    count = f'SELECT count(*) FROM "{table}"'
    await store.put_many([f"k{number}" for number in range(20)], [1] * 20, ttl=10)
    await store.put("other", 1)
    clock.advance(11)
    assert await store.keys() == ["other"]
    assert await store.count() == 1
    assert await store.get("k1") is None
    assert await store.delete("k1") is False
    assert await store.put_if_absent("k2", 2) is True
    assert await admin.fetchval(count) == 20
    await store.cull()
    assert await admin.fetchval(count) == 2
    indexes = await admin.fetch("SELECT indexdef FROM pg_indexes WHERE tablename = $1", table)
    assert any("(expires_at) WHERE" in row[0] for row in indexes)


async def test_writes_free_expired_entries_by_the_way(
    store: PostgreSQLStore, clock: ManualClock, table: str, admin: Any
) -> None:
    await store.put_many([f"k{number}" for number in range(499)], [1] * 499, ttl=10)
    clock.advance(11)
    await store.put("other", 1)
    assert await admin.fetchval(f'SELECT count(*) FROM "{table}"') == 1


async def test_ranges_of_many_rows_are_counted_and_dropped_in_parts(
    store: PostgreSQLStore, table: str, admin: Any
) -> None:
    await admin.execute(
        f"INSERT INTO \"{table}\" SELECT 'c', NULL, convert_to('k' || n, 'UTF8'), '', '', NULL, n, "
        "'x' FROM generate_series(1, 100123) AS n"
    )
    assert await store.count(collection="c") == 100_123
    assert await store.count_range("c", _range("k5")) == 11_111
    assert await store.drop_range("c", _range("k5")) == 11_111
    assert await store.count(collection="c") == 100_123 - 11_111
    await store.put("k", 1)
    await store.put("k", 1, collection="d")
    assert await store.destroy_collection("c") is True
    assert await store.destroy_collection("c") is False
    assert await store.list_collections() == [None, "d"]
    await admin.execute(
        f"INSERT INTO \"{table}\" SELECT convert_to('c' || n % 7, 'UTF8'), NULL, "
        "convert_to('k' || n, 'UTF8'), '', '', NULL, n, 'x' FROM generate_series(1, 12000) AS n"
    )
    assert await store.destroy() is True
    assert await admin.fetchval(f'SELECT count(*) FROM "{table}"') == 0
    assert await store.destroy() is False


def _range(prefix: str) -> KeyRange:
    return KeyRange(prefix=prefix)


async def test_names_that_other_programs_wrote_are_passed_by(
    store: PostgreSQLStore, table: str, admin: Any
) -> None:
    insert = f"INSERT INTO \"{table}\" VALUES ($1, NULL, $2, '', '', NULL, 1, 'x')"
    await admin.execute(insert, b"", b"\xfe")
    await admin.execute(insert, b"\xfe", b"k")
    await admin.execute(insert, b"a%zz", b"k")
    await store.put("k", 1)
    assert await store.keys() == ["k"]
    assert await store.list_collections() == [None]


async def test_a_batch_of_many_keys_is_a_few_statements_and_names_what_succeeded(
    store: PostgreSQLStore, table: str, admin: Any
) -> None:
    keys = [f"k{number:04}" for number in range(2500)]
    await store.put_many(keys, list(range(2500)))
    assert await store.get_many(keys) == list(range(2500))
    assert await store.count() == 2500
    await admin.execute(
        f'ALTER TABLE "{table}" ADD CONSTRAINT small CHECK (length(entry) < 200) NOT VALID'
    )
    values = ["x"] * 2500
    values[1500] = "x" * 500
    with pytest.raises(Exception, match="23514") as caught:
        await store.put_many(keys, values)
    assert caught.value.succeeded == tuple(keys[:1000])  # type: ignore[attr-defined]
    assert "xxxxx" not in str(caught.value)
    assert await store.get_many([keys[999], keys[1000], keys[2400]]) == ["x", 1000, 2400]


async def test_an_item_over_the_limit_in_the_middle_of_a_batch(
    store: PostgreSQLStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "LARGEST", 1_000_000)
    for write in (
        store.put_many(["a", "b", "c"], [1, "x" * 1_100_000, 3]),
        store.put_if_absent("b", "x" * 1_100_000),
    ):
        with pytest.raises(ValueTooLarge, match="Nothing was written") as caught:
            await write
        assert caught.value.key == "b"
    assert await store.keys() == []


async def test_values_of_many_megabytes(url: str, table: str) -> None:
    values = [character * 30_000_000 for character in "abc"]
    async with PostgreSQLStore(url, table=table, timeout=60) as store:
        await store.put_many(["a", "b", "c"], values)
        assert await store.get_many(["a", "b", "c"]) == values


async def test_batches_in_opposite_orders_do_not_end_in_deadlocks(
    store: PostgreSQLStore, url: str, table: str
) -> None:
    keys = [f"k{number}" for number in range(50)]
    async with PostgreSQLStore(url, table=table) as other:

        async def put(target: PostgreSQLStore, names: list[str]) -> None:
            for _ in range(10):
                await target.put_many(names, names)
                await target.touch(None, names, [None] * len(names))

        await asyncio.gather(
            *(put(target, names) for target in (store, other) for names in (keys, keys[::-1]))
        )
    assert await store.get_many(keys) == keys
