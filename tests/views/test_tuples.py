"""`kvwrap.tuples(store)`: keys that are tuples of strings."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import kvwrap
from kvwrap import (
    Capability,
    ConfigurationError,
    InvalidKey,
    KeyNotFound,
    Keyring,
    MemoryStore,
    SQLiteStore,
    UnsupportedOperation,
    stack,
)
from kvwrap.views.tuples import decode_key, encode_key

PARTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\0\1\2"), max_size=4)
KEYS = st.lists(PARTS, min_size=1, max_size=4).map(tuple)


class Plain(MemoryStore):
    """A store that cannot compare versions."""

    capabilities = MemoryStore.capabilities - {Capability.COMPARE_AND_PUT}


@given(KEYS)
def test_keys_are_reversible(key: tuple[str, ...]) -> None:
    assert decode_key(encode_key(key)) == key


@given(KEYS, KEYS)
def test_keys_keep_order_and_prefixes(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert (encode_key(one) < encode_key(other)) == (one < other)
    assert encode_key(other).startswith(encode_key(one)) == (other[: len(one)] == one)


@given(st.text(st.sampled_from("\0\1\2\3ab"), max_size=6))
def test_each_text_is_the_key_of_one_tuple_at_most(text: str) -> None:
    key = decode_key(text)
    assert key is None or encode_key(key) == text


async def test_values_by_tuples() -> None:
    reports = kvwrap.tuples(MemoryStore(), "reports")
    await reports.put(("2026", "march"), {"sum": 3})
    assert await reports.get(("2026", "march")) == {"sum": 3}
    assert await reports.get(["2026", "march"]) == {"sum": 3}
    assert await reports.get(("2026",)) is None
    assert await reports.has_key(("2026", "march"))
    assert not await reports.has_key(("2026",))
    assert await reports.remove_key(("2026", "march"))
    assert not await reports.remove_key(("2026", "march"))
    with pytest.raises(KeyNotFound):
        await reports.require(("2026", "march"))


async def test_a_ttl(clock) -> None:
    reports = kvwrap.tuples(MemoryStore(clock=clock))
    await reports.put(("a",), 1, ttl=5)
    clock.advance(6)
    assert await reports.get(("a",)) is None


async def test_list_keys_by_prefix_in_order() -> None:
    store = stack().compress().encrypt(Keyring.generate()).hash_keys(b"0" * 32).over(MemoryStore())
    for base in (MemoryStore(), store):
        if Capability.KEYS not in base.capabilities:
            continue
        view = kvwrap.tuples(base)
        keys = [("b",), ("a", "\0"), ("a",), ("a", "x", "y"), ("ab",), ("a", ""), ("",)]
        for key in keys:
            await view.put(key, list(key))
        await base.put("plain", 1)
        assert await view.list_keys() == sorted(keys)
        assert await view.list_keys(("a",)) == sorted(key for key in keys if key[0] == "a")
        assert await view.list_keys(("a", "x")) == [("a", "x", "y")]
        assert await view.list_keys(("c",)) == []
        assert {key async for key in view.scan(("a",))} == {key for key in keys if key[0] == "a"}


async def test_move() -> None:
    view = kvwrap.tuples(MemoryStore(), "c")
    await view.put(("a", "b"), 1)
    assert await view.move(("a", "b"), ("x",))
    assert not await view.move(("a", "b"), ("x",))
    assert await view.list_keys() == [("x",)]


async def test_keys_of_one_length() -> None:
    store = MemoryStore()
    view = kvwrap.tuples(store, length=2)
    await kvwrap.tuples(store).put(("a", "b", "c"), 1)
    await view.put(("a", "b"), 2)
    assert await view.list_keys(("a",)) == [("a", "b")]
    for key in (("a",), ("a", "b", "c"), ()):
        with pytest.raises(InvalidKey, match=r"must be a tuple of 2 strings; got \d"):
            await view.get(key)


@pytest.mark.parametrize("key", ["ab", b"ab", ("a", 1), 5, None, (), ("kvwrap.x", "a")])
async def test_other_keys_are_refused(key) -> None:
    view = kvwrap.tuples(MemoryStore())
    with pytest.raises(InvalidKey):
        await view.put(key, 1)
    with pytest.raises(InvalidKey):
        await view.get(key)


@pytest.mark.parametrize("length", [0, -1, True, "2", 1.5])
def test_other_lengths_are_refused(length) -> None:
    with pytest.raises(ConfigurationError, match="`length` must be a positive int or None"):
        kvwrap.tuples(MemoryStore(), length=length)


def test_a_url_tells_the_place_and_no_secret(tmp_path: Path) -> None:
    view = kvwrap.tuples(stack().compress().over(SQLiteStore(tmp_path / "x.db")), "a b")
    url = view.url_for(("x/y", "z"))
    assert url.endswith("#a%20b/x%2Fy/z")
    assert str(tmp_path / "x.db") in url
    server = kvwrap.RedisStore("redis://user:hunter2@localhost:6379/3")
    assert "hunter2" not in kvwrap.tuples(server).url_for(("a",))


async def test_the_configuration_builds_the_same_stack(tmp_path: Path) -> None:
    store = stack().prefix_key("p:").compress().over(SQLiteStore(tmp_path / "x.db"))
    view = kvwrap.tuples(store, "c")
    async with store:
        await view.put(("a",), 1)
        async with kvwrap.from_config(view.config) as again:
            assert await kvwrap.tuples(again, "c").get(("a",)) == 1
    assert kvwrap.tuples(kvwrap.from_config(view.config)).config == view.config


# -- store ids ---------------------------------------------------------------------------


async def test_a_store_id_is_made_once() -> None:
    store = stack().clamp_ttl(maximum=5).compress().encrypt(Keyring.generate()).over(MemoryStore())
    ids = await asyncio.gather(*(kvwrap.tuples(store, "c").store_id() for _ in range(50)))
    assert len(set(ids)) == 1
    uuid.UUID(ids[0])
    assert await kvwrap.tuples(store).store_id() != ids[0]
    assert await store.keys("c") == await store.keys() == await store.collections() == []
    await store.destroy()
    assert await kvwrap.tuples(store, "c").store_id() != ids[0]


PROGRAM = """
import asyncio, random, sys
import kvwrap
random.seed(1)
async def main():
    async with kvwrap.SQLiteStore(sys.argv[1]) as store:
        print(await kvwrap.tuples(store).store_id())
asyncio.run(main())
"""


def test_processes_agree_on_a_store_id(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "x.db")]
    programs = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    assert len({program.communicate()[0] for program in programs}) == 1


async def test_a_store_that_compares_no_versions_has_no_id() -> None:
    with pytest.raises(UnsupportedOperation, match="two processes"):
        await kvwrap.tuples(Plain()).store_id()


# -- blocking ----------------------------------------------------------------------------


def test_over_a_blocking_view_it_blocks() -> None:
    with kvwrap.sync(MemoryStore()) as store:
        view = kvwrap.tuples(store, "c", length=2)
        view.put(("a", "b"), 1, ttl=50)
        view.put(("a", "c"), 2)
        assert view.get(("a", "b")) == view.require(("a", "b")) == 1
        assert view.has_key(("a", "b"))
        assert view.list_keys(("a",)) == [("a", "b"), ("a", "c")]
        assert sorted(view.scan()) == [("a", "b"), ("a", "c")]
        assert view.move(("a", "b"), ("x", "b"))
        assert view.remove_key(("a", "c"))
        assert view.list_keys() == [("x", "b")]
        assert view.store_id() == view.store_id()
        assert view.url_for(("x", "b")).endswith("#c/x/b")
        assert view.config == {"store": {"type": "memory"}}
        assert store.keys("c") == [encode_key(("x", "b"))]


def test_what_it_is_told_about() -> None:
    store = MemoryStore()
    assert repr(kvwrap.tuples(store, "c")) == f"tuples({store!r}, collection='c')"
    with kvwrap.sync(MemoryStore()) as view:
        assert repr(kvwrap.tuples(view)).startswith("sync(tuples(MemoryStore(")
