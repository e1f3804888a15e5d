"""Functions of many items whose results are cached one by one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import kvwrap
from kvwrap import ConfigurationError, MemoryStore
from kvwrap.testing import ManualClock

CALLS: list[list[int]] = []


@pytest.fixture(autouse=True)
def _no_calls() -> None:
    CALLS.clear()


async def test_the_function_gets_the_items_whose_results_are_missing(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock)

    @store.cached_many(ttl=60)
    async def squares(numbers: list[int], power: int = 2) -> dict[int, int]:
        CALLS.append(numbers)
        return {number: number**power for number in numbers if number >= 0}

    assert await squares([1, 2, -1]) == {1: 1, 2: 4}
    assert await squares([3, 2, 1, 3]) == {3: 9, 2: 4, 1: 1}
    assert await squares([2], power=3) == {2: 8}
    assert await squares(n for n in [2]) == {2: 4}
    assert await squares([]) == {}
    assert CALLS == [[1, 2, -1], [3], [2]]
    clock.advance(61)
    assert await squares([1]) == {1: 1}
    assert squares.key(1) == squares.key(1, 2) != squares.key(1, power=3)
    assert await squares.invalidate(1)
    assert not await squares.invalidate(1)
    assert await squares([1]) == {1: 1}
    assert len(CALLS) == 5


async def test_methods_and_keys_of_ones_own() -> None:
    store = MemoryStore()

    class Users:
        def __init__(self, name: str) -> None:
            self.name = name

        @store.cached_many(key=lambda self, number: f"{self.name}-{number}")
        async def load(self, numbers: list[int]) -> dict[int, str]:
            CALLS.append(numbers)
            return {number: f"{self.name}{number}" for number in numbers}

    one, other = Users("a"), Users("b")
    assert await one.load([1, 2]) == {1: "a1", 2: "a2"}
    assert await other.load([1]) == {1: "b1"}
    assert await one.load([2, 1]) == {2: "a2", 1: "a1"}
    assert one.load.key(1) == "a-1"
    assert await one.load.invalidate(1)
    assert CALLS == [[1, 2], [1]]
    assert sorted(await store.keys()) == ["a-2", "b-1"]


@dataclasses.dataclass
class User:
    name: str


async def test_results_of_a_model() -> None:
    store = MemoryStore()

    @store.cached_many(model=User)
    async def users(names: list[str]) -> dict[str, User]:
        return {name: User(name) for name in names}

    assert await users(["ada"]) == {"ada": User("ada")}
    assert await users(["ada"]) == {"ada": User("ada")}
    await store.put(users.key("ada"), {"name": 5})
    assert await users(["ada", "bob"]) == {"ada": User("ada"), "bob": User("bob")}


async def test_wrong_uses() -> None:
    store = MemoryStore()
    with pytest.raises(TypeError, match="parentheses"):
        store.cached_many(len)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="async"):
        store.cached_many()(len)  # type: ignore[arg-type]

    @store.cached_many()
    async def listing(numbers: list[int]) -> Any:
        return numbers

    with pytest.raises(ConfigurationError, match=r"listing must return a mapping.*list"):
        await listing([1])


def test_in_the_blocking_view() -> None:
    with kvwrap.sync(MemoryStore()) as store:

        @store.cached_many(ttl=60)
        def squares(numbers: list[int]) -> dict[int, int]:
            CALLS.append(numbers)
            return {number: number**2 for number in numbers if number >= 0}

        assert squares([1, 2, -1]) == {1: 1, 2: 4}
        assert squares([2, 3]) == {2: 4, 3: 9}
        assert CALLS == [[1, 2, -1], [3]]
        assert squares.invalidate(2)
        assert not store.get(squares.key(2))

        async def wrong(numbers: list[int]) -> dict[int, int]:
            return {}

        with pytest.raises(ConfigurationError, match="plain"):
            store.cached_many()(wrong)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="parentheses"):
            store.cached_many(len)  # type: ignore[arg-type]
