"""LangGraph's interface of stores: namespaces, searches, expiry, and their limits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore

from kvwrap import (
    Chaos,
    Keyring,
    MemoryStore,
    SerializationError,
    StoreUnavailable,
    UnsupportedOperation,
    stack,
)
from kvwrap.integrations.langgraph import KvwrapStore
from kvwrap.testing import ManualClock

KEYS = Keyring.generate()


@pytest.fixture
def memory(clock: ManualClock) -> Iterator[KvwrapStore]:
    with KvwrapStore(MemoryStore(clock=clock), KEYS) as memory:
        yield memory


def test_an_item_and_its_times(memory: KvwrapStore) -> None:
    memory.put(("users", "ada"), "likes", {"tea": True})
    first = memory.get(("users", "ada"), "likes")
    assert first is not None
    assert (first.namespace, first.key, first.value) == (("users", "ada"), "likes", {"tea": True})
    memory.put(("users", "ada"), "likes", {"tea": False})
    second = memory.get(("users", "ada"), "likes")
    assert second is not None
    assert second.value == {"tea": False}
    assert second.created_at == first.created_at
    assert second.updated_at > first.updated_at
    memory.delete(("users", "ada"), "likes")
    assert memory.get(("users", "ada"), "likes") is None
    assert memory.list_namespaces() == []


NAMES = [("a",), ("a", "b"), ("a", "b", "c"), ("b", "b"), ("ab",), ("a b", "c/d%2F"), ("ä@|",)]


@pytest.fixture
def both(memory: KvwrapStore) -> tuple[KvwrapStore, InMemoryStore]:
    """A memory and LangGraph's own, with the same items."""
    model = InMemoryStore()
    for store in (memory, model):
        for number, namespace in enumerate(NAMES):
            for key in ("x", "y"):
                store.put(namespace, key, {"n": number, "key": key, "of": {"deep": [number]}})
    return memory, model


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"prefix": ("a",)},
        {"prefix": ("*", "b")},
        {"suffix": ("b",)},
        {"suffix": ("c",), "max_depth": 1},
        {"prefix": ("a",), "suffix": ("*", "c")},
        {"prefix": ("a", "b", "c", "d")},
        {"max_depth": 2, "limit": 3, "offset": 1},
    ],
)
def test_namespaces_are_those_of_langgraphs_own_store(
    both: tuple[KvwrapStore, InMemoryStore], arguments: dict[str, Any]
) -> None:
    memory, model = both
    assert memory.list_namespaces(**arguments) == model.list_namespaces(**arguments)


@pytest.mark.parametrize(
    "wanted",
    [
        None,
        {"n": 2},
        {"n": 2, "key": "x"},
        {"missing": 1},
        {"of": {"deep": [3]}},
        {"of": {"missing": 1}},
        {"n": {"$gt": 2, "$lte": 5}},
        {"n": {"$ne": 1}},
        {"n": {"$eq": 1}},
        {"n": {"$gte": 3}, "key": {"$eq": "y"}},
        {"n": {"$lt": 1}},
    ],
)
@pytest.mark.parametrize("prefix", [(), ("a",), ("a", "b"), ("none",)])
def test_searches_find_what_langgraphs_own_store_finds(
    both: tuple[KvwrapStore, InMemoryStore], prefix: tuple[str, ...], wanted: dict[str, Any] | None
) -> None:
    found, expected = (
        [(item.namespace, item.key, item.value) for item in each.search(prefix, filter=wanted,
                                                                        limit=50)]
        for each in both
    )  # fmt: skip
    assert found == sorted(expected, key=lambda item: item[:2])


def test_a_value_that_cannot_be_compared_does_not_fit(memory: KvwrapStore) -> None:
    memory.put(("a",), "k", {"n": "text"})
    assert memory.search(("a",), filter={"n": {"$gt": 1}}) == []
    with pytest.raises(ValueError, match=r"\$in"):
        memory.search(("a",), filter={"n": {"$in": [1]}})


def test_pages_of_a_search(memory: KvwrapStore) -> None:
    items = [PutOp(("a",), f"{number:03}", {"odd": number % 2}) for number in range(250)]
    memory.batch(items)
    odd = [op.key for op in items if op.value and op.value["odd"]]
    for offset in (0, 3, 60, 120, 124, 125, 300):
        found = memory.search(("a",), filter={"odd": 1}, limit=10, offset=offset)
        assert [item.key for item in found] == odd[offset : offset + 10]


def test_a_batch_reads_as_of_its_beginning(memory: KvwrapStore) -> None:
    memory.put(("a",), "k", {"n": 1})
    got, nothing, found, names, _ = memory.batch(
        [
            GetOp(("a",), "k"),
            PutOp(("a",), "k", {"n": 2}),
            SearchOp(("a",)),
            ListNamespacesOp((MatchCondition("prefix", ("a",)),)),
            PutOp(("a",), "k", {"n": 3}),
        ]
    )
    assert (got.value, nothing, found[0].value, names) == ({"n": 1}, None, {"n": 1}, [("a",)])
    assert memory.get(("a",), "k").value == {"n": 3}  # type: ignore[union-attr]


def test_expiry_in_minutes_begins_when_an_item_is_read(clock: ManualClock) -> None:
    with KvwrapStore(MemoryStore(clock=clock), KEYS, ttl={"default_ttl": 10}) as memory:
        memory.put(("a",), "k", {"n": 1})
        memory.put(("a",), "stays", {"n": 2}, ttl=None)
        for _ in range(3):
            clock.advance(8 * 60)
            assert memory.get(("a",), "k") is not None
        clock.advance(8 * 60)
        assert [item.key for item in memory.search(("a",))] == ["k", "stays"]
        clock.advance(8 * 60)
        assert memory.get(("a",), "k", refresh_ttl=False) is not None
        clock.advance(3 * 60)
        assert memory.get(("a",), "k") is None
        assert [item.key for item in memory.search(("a",))] == ["stays"]


def test_there_is_no_vector_search(memory: KvwrapStore) -> None:
    memory.put(("a",), "k", {"text": "tea"}, index=["text"])
    with pytest.raises(UnsupportedOperation, match="vector search"):
        memory.search(("a",), query="what does she drink?")


@pytest.mark.parametrize("namespace", [("a", ""), ("a.b",), (1,)])
def test_namespaces_that_langgraph_does_not_have(memory: KvwrapStore, namespace: Any) -> None:
    with pytest.raises(InvalidNamespaceError):
        memory.batch([GetOp(namespace, "k")])


async def test_the_async_methods(memory: KvwrapStore) -> None:
    await asyncio.gather(*(memory.aput(("a",), str(n), {"n": n}) for n in range(5)))
    assert [item.value["n"] for item in await memory.asearch(("a",))] == [0, 1, 2, 3, 4]
    assert await memory.alist_namespaces() == [("a",)]
    await memory.adelete(("a",), "0")
    assert await memory.aget(("a",), "0") is None


def test_nothing_is_readable_at_rest(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/m.db"
    with KvwrapStore(url, KEYS, compress=False) as memory:
        memory.put(("users",), "k", {"confidential": "very secret"})
    held = b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert b"langgraph/memories/users" in held
    assert b"confidential" not in held
    assert b"very secret" not in held


def test_failures_are_the_errors_of_the_store() -> None:
    backend = stack().chaos().over(MemoryStore())
    with KvwrapStore(backend, KEYS) as memory:
        with pytest.raises(SerializationError):
            memory.put(("a",), "k", {"when": object()})
        backend.find(Chaos).down = True
        with pytest.raises(StoreUnavailable):
            memory.put(("a",), "k", {"n": "a secret"})
        with pytest.raises(StoreUnavailable) as caught:
            memory.search(("a",))
    assert "secret" not in str(caught.value)
